"""Work at AWS services, written once: done by two clients, it must come out the same."""

import base64
import hashlib
import io
import json
import zipfile
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

MIB = 1024 * 1024
# Differ from run to run: times, and identifiers that the service invents.
_VOLATILE = frozenset(
    {
        "LastModified", "CreationDate", "CreationDateTime", "VersionId", "CopySourceVersionId", "DeleteMarkerVersionId", "UploadId",
        "Location", "Initiated", "MessageId", "ReceiptHandle", "SequenceNumber", "SentTimestamp",
        "CreatedTimestamp", "LastModifiedTimestamp", "ApproximateFirstReceiveTimestamp", "SubscriptionArn",
        "RevisionId", "FunctionUrl", "CreationTime", "CreatedDate", "ID", "EarliestRestorableDateTime", "LatestRestorableDateTime", "LastModifiedDate",
        "TableId", "LatestStreamLabel", "LatestStreamArn", "BackupCreationDateTime",
        "BackupArn", "LastUpdateToPayPerRequestDateTime", "CreateDate", "NextToken", "Date", "Timestamp",
        "UpdatedTimestamp", "TaskHandle", "ExecutedVersion",
    }
)  # fmt: skip


class Worker:
    """Calls operations of one client and keeps what came out, as far as it can be compared."""

    def __init__(self, client):
        self.client = client
        self.outcomes = []

    def __call__(self, operation, **parameters):
        try:
            answer = getattr(self.client, operation)(**parameters)
        except ClientError as error:
            told = error.response
            self.outcomes.append(
                (
                    operation,
                    told["ResponseMetadata"]["HTTPStatusCode"],
                    told["Error"]["Code"],
                    told["Error"].get("Message"),
                )
            )
            return told
        self.outcomes.append((operation, answer["ResponseMetadata"]["HTTPStatusCode"], _plain(answer)))
        return answer


def _plain(value, name=""):
    if name in _VOLATILE:
        return "…"
    if isinstance(value, dict):
        return {key: _plain(one, key) for key, one in value.items() if key != "ResponseMetadata"}
    if isinstance(value, list | tuple):
        return [_plain(one, name) for one in value]
    if name == "QueueUrl":
        return urlsplit(value).path  # of the host that the service believes to have
    if hasattr(value, "read"):
        content = value.read()
        return hashlib.sha256(content).hexdigest(), len(content)
    if hasattr(value, "__iter__") and not isinstance(value, str | bytes):
        return [_plain(one) for one in value]
    return value


def buckets(do):
    """What a bucket can be told."""
    do("create_bucket", Bucket="work", ObjectOwnership="ObjectWriter")
    do("create_bucket", Bucket="locked", ObjectLockEnabledForBucket=True)
    do("create_bucket", Bucket="elsewhere", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    do("list_buckets")
    do("head_bucket", Bucket="work")
    do("head_bucket", Bucket="missing")
    do("head_bucket", Bucket="work", ExpectedBucketOwner="999999999999")
    do("get_bucket_location", Bucket="elsewhere")
    rule = {"ID": "r", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 7}}
    cors = {"AllowedMethods": ["GET"], "AllowedOrigins": ["https://a.example"], "AllowedHeaders": ["*"]}
    sse = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::work/*"}
        ],
    }
    topic = "arn:aws:sns:us-east-1:123456789012:missing"
    inventory = {
        "Destination": {"S3BucketDestination": {"Bucket": "arn:aws:s3:::work", "Format": "CSV"}},
        "IsEnabled": True, "Id": "i", "IncludedObjectVersions": "All", "Schedule": {"Frequency": "Daily"},
    }  # fmt: skip
    replication = {
        "Role": "arn:aws:iam::123456789012:role/r",
        "Rules": [{"Status": "Enabled", "Prefix": "", "Destination": {"Bucket": "arn:aws:s3:::locked"}}],
    }
    for setting, parameters in {
        "bucket_versioning": {"VersioningConfiguration": {"Status": "Enabled"}},
        "bucket_tagging": {"Tagging": {"TagSet": [{"Key": "a b", "Value": "ü=&"}]}},
        "bucket_lifecycle_configuration": {"LifecycleConfiguration": {"Rules": [rule]}},
        "bucket_cors": {"CORSConfiguration": {"CORSRules": [cors]}},
        "bucket_encryption": {"ServerSideEncryptionConfiguration": {"Rules": [sse]}},
        "bucket_policy": {"Policy": json.dumps(policy)},
        "bucket_website": {"WebsiteConfiguration": {"IndexDocument": {"Suffix": "index.html"}}},
        "bucket_logging": {"BucketLoggingStatus": {}},
        "bucket_acl": {"ACL": "private"},
        "bucket_ownership_controls": {"OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerPreferred"}]}},
        "bucket_accelerate_configuration": {"AccelerateConfiguration": {"Status": "Enabled"}},
        "bucket_request_payment": {"RequestPaymentConfiguration": {"Payer": "Requester"}},
        "bucket_replication": {"ReplicationConfiguration": replication},
        "bucket_notification_configuration": {
            "NotificationConfiguration": {"TopicConfigurations": [{"Id": "n", "TopicArn": topic, "Events": ["s3:ObjectCreated:*"]}]}
        },
        "bucket_inventory_configuration": {"Id": "i", "InventoryConfiguration": inventory},
        "bucket_metrics_configuration": {"Id": "m", "MetricsConfiguration": {"Id": "m"}},
        "bucket_intelligent_tiering_configuration": {
            "Id": "t",
            "IntelligentTieringConfiguration": {
                "Id": "t", "Status": "Enabled", "Tierings": [{"Days": 90, "AccessTier": "ARCHIVE_ACCESS"}]
            },
        },
        "public_access_block": {"PublicAccessBlockConfiguration": {"BlockPublicAcls": True}},
    }.items():  # fmt: skip
        do(f"put_{setting}", Bucket="work", **parameters)
        named = {"Id": parameters["Id"]} if "Id" in parameters else {}
        do(f"get_{setting}", Bucket="work", **named)
    lock = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}}
    do("put_object_lock_configuration", Bucket="locked", ObjectLockConfiguration=lock)
    do("get_object_lock_configuration", Bucket="locked")
    do("get_bucket_policy_status", Bucket="work")
    do("list_bucket_inventory_configurations", Bucket="work")
    do("list_bucket_metrics_configurations", Bucket="work")
    for setting in (
        "bucket_tagging", "bucket_lifecycle", "bucket_cors", "bucket_encryption", "bucket_policy", "bucket_website",
        "bucket_ownership_controls", "bucket_replication", "public_access_block",
    ):  # fmt: skip
        do(f"delete_{setting}", Bucket="work")
    do("get_bucket_tagging", Bucket="work")
    do("delete_bucket", Bucket="elsewhere")


def objects(do, *, bucket="things", held="held"):
    """What can be done with objects: contents, metadata, copies, parts, locks."""
    do("create_bucket", Bucket=bucket)
    do("put_bucket_versioning", Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    body = bytes(range(256)) * 400
    told = {
        "Metadata": {"a": "b", "long-name": "x" * 300}, "Tagging": "k=v&k2=a%20b", "StorageClass": "STANDARD_IA",
        "ServerSideEncryption": "AES256", "CacheControl": "no-store", "ContentType": "text/x-odd; charset=utf-8",
        "ContentDisposition": 'attachment; filename="a.txt"', "ContentLanguage": "de", "ContentEncoding": "x-own",
        "WebsiteRedirectLocation": "/other",
    }  # fmt: skip
    key = "folder/a b+c%20&=ü€'()*!~.txt"
    do("put_object", Bucket=bucket, Key=key, Body=body, **told)
    do("put_object", Bucket=bucket, Key="empty")
    for algorithm in ("CRC32", "CRC32C", "SHA1", "SHA256", "CRC64NVME"):
        if algorithm in ("CRC32C", "CRC64NVME"):
            continue  # boto3 needs a compiled module for these
        do("put_object", Bucket=bucket, Key=algorithm, Body=body, ChecksumAlgorithm=algorithm)
        do("head_object", Bucket=bucket, Key=algorithm, ChecksumMode="ENABLED")
    do("put_object", Bucket=bucket, Key="stream", Body=io.BytesIO(body))
    do(
        "put_object",
        Bucket=bucket,
        Key="wrong",
        Body=b"x",
        ChecksumSHA256=base64.b64encode(b"0" * 32).decode(),
    )
    do(
        "put_object",
        Bucket=bucket,
        Key="wrong-md5",
        Body=b"x",
        ContentMD5=base64.b64encode(b"0" * 16).decode(),
    )
    do("head_object", Bucket=bucket, Key=key)
    do("get_object", Bucket=bucket, Key=key)
    do("get_object", Bucket=bucket, Key=key, Range="bytes=5-20")
    do("get_object", Bucket=bucket, Key=key, IfNoneMatch='"other"')
    do("get_object", Bucket=bucket, Key="stream")
    do("get_object", Bucket=bucket, Key="missing")
    do(
        "get_object_attributes",
        Bucket=bucket,
        Key="SHA256",
        ObjectAttributes=["ETag", "Checksum", "ObjectSize"],
    )
    do("get_object_tagging", Bucket=bucket, Key=key)
    do("put_object_tagging", Bucket=bucket, Key=key, Tagging={"TagSet": [{"Key": "n", "Value": "ü"}]})
    do("get_object_tagging", Bucket=bucket, Key=key)
    do("delete_object_tagging", Bucket=bucket, Key=key)
    do("put_object_acl", Bucket=bucket, Key="empty", ACL="public-read")
    do("get_object_acl", Bucket=bucket, Key="empty")
    source = {"Bucket": bucket, "Key": key}
    do("copy_object", Bucket=bucket, Key="copy", CopySource=source)
    do("head_object", Bucket=bucket, Key="copy")
    do("get_object", Bucket=bucket, Key="copy")
    do(
        "copy_object",
        Bucket=bucket,
        Key="copy 2",
        CopySource=source,
        MetadataDirective="REPLACE",
        Metadata={"n": "1"},
    )
    do("head_object", Bucket=bucket, Key="copy 2")
    do("copy_object", Bucket=bucket, Key="copy", CopySource=source, CopySourceIfMatch='"other"')
    parts(do, body, bucket)
    do("list_objects", Bucket=bucket, MaxKeys=3)
    do("list_objects_v2", Bucket=bucket, Prefix="fol", Delimiter="/", EncodingType="url")
    do("list_object_versions", Bucket=bucket)
    do(
        "delete_objects",
        Bucket=bucket,
        Delete={"Objects": [{"Key": "copy"}, {"Key": "copy 2"}], "Quiet": False},
    )
    do("delete_object", Bucket=bucket, Key=key)
    do("list_objects_v2", Bucket=bucket)
    do("create_bucket", Bucket=held, ObjectLockEnabledForBucket=True)
    do("put_object", Bucket=held, Key="k", Body=b"x", ObjectLockLegalHoldStatus="ON")
    do("get_object_legal_hold", Bucket=held, Key="k")
    do("put_object_legal_hold", Bucket=held, Key="k", LegalHold={"Status": "OFF"})
    do(
        "put_object_retention",
        Bucket=held,
        Key="k",
        Retention={"Mode": "GOVERNANCE", "RetainUntilDate": "2030-01-01T00:00:00Z"},
    )
    do("get_object_retention", Bucket=held, Key="k")
    version = do("head_object", Bucket=held, Key="k").get("VersionId", "")
    do("delete_object", Bucket=held, Key="k", VersionId=version)
    do("delete_object", Bucket=held, Key="k", VersionId=version, BypassGovernanceRetention=True)
    do("put_object", Bucket=bucket, Key="csv", Body=b"a,b\n1,2\n")
    do("restore_object", Bucket=bucket, Key="csv", RestoreRequest={"Days": 1})
    do("get_object_torrent", Bucket=bucket, Key="csv")


def parts(do, body, bucket):
    """A multipart upload with a copied part, and one that is given up."""
    upload = do("create_multipart_upload", Bucket=bucket, Key="big", Metadata={"m": "1"})["UploadId"]
    first = do("upload_part", Bucket=bucket, Key="big", UploadId=upload, PartNumber=1, Body=body * 60)
    second = do(
        "upload_part_copy", Bucket=bucket, Key="big", UploadId=upload, PartNumber=2,
        CopySource={"Bucket": bucket, "Key": "stream"}, CopySourceRange="bytes=0-99",
    )  # fmt: skip
    do("list_parts", Bucket=bucket, Key="big", UploadId=upload)
    do("list_multipart_uploads", Bucket=bucket)
    etags = [first.get("ETag"), second.get("CopyPartResult", {}).get("ETag")]
    done = {"Parts": [{"ETag": etag, "PartNumber": number} for number, etag in enumerate(etags, 1)]}
    do("complete_multipart_upload", Bucket=bucket, Key="big", UploadId=upload, MultipartUpload=done)
    do("get_object", Bucket=bucket, Key="big")
    do("get_object", Bucket=bucket, Key="big", PartNumber=2)
    upload = do("create_multipart_upload", Bucket=bucket, Key="given-up")["UploadId"]
    do("upload_part", Bucket=bucket, Key="given-up", UploadId=upload, PartNumber=1, Body=b"x")
    do("abort_multipart_upload", Bucket=bucket, Key="given-up", UploadId=upload)


def tables(do):
    """DynamoDB."""
    key = [{"AttributeName": "id", "KeyType": "HASH"}]
    attributes = [{"AttributeName": "id", "AttributeType": "S"}]
    do(
        "create_table",
        TableName="t",
        KeySchema=key,
        AttributeDefinitions=attributes,
        BillingMode="PAY_PER_REQUEST",
    )
    do("list_tables")
    do("describe_table", TableName="t")
    item = {
        "id": {"S": "ü"},
        "n": {"N": "1"},
        "b": {"B": b"\x00\xff"},
        "l": {"L": [{"BOOL": True}, {"NULL": True}]},
    }
    do("put_item", TableName="t", Item=item)
    do("put_item", TableName="t", Item=item, ConditionExpression="attribute_not_exists(id)")
    do("get_item", TableName="t", Key={"id": {"S": "ü"}})
    do("update_item", TableName="t", Key={"id": {"S": "ü"}}, UpdateExpression="SET n = n + :one",
       ExpressionAttributeValues={":one": {"N": "1"}}, ReturnValues="ALL_NEW")  # fmt: skip
    do("query", TableName="t", KeyConditionExpression="id = :i", ExpressionAttributeValues={":i": {"S": "ü"}})
    do("scan", TableName="t", FilterExpression="n > :z", ExpressionAttributeValues={":z": {"N": "0"}})
    do(
        "batch_write_item",
        RequestItems={"t": [{"PutRequest": {"Item": {"id": {"S": f"i{n}"}}}} for n in range(5)]},
    )
    do("batch_get_item", RequestItems={"t": {"Keys": [{"id": {"S": "i1"}}]}})
    do("transact_write_items", TransactItems=[{"Put": {"TableName": "t", "Item": {"id": {"S": "x"}}}}])
    do("transact_get_items", TransactItems=[{"Get": {"TableName": "t", "Key": {"id": {"S": "x"}}}}])
    do("execute_statement", Statement="SELECT * FROM t WHERE id = 'x'")
    do("delete_item", TableName="t", Key={"id": {"S": "x"}}, ReturnValues="ALL_OLD")
    arn = do("describe_table", TableName="t")["Table"]["TableArn"]
    do("tag_resource", ResourceArn=arn, Tags=[{"Key": "a", "Value": "b"}])
    do("list_tags_of_resource", ResourceArn=arn)
    do("untag_resource", ResourceArn=arn, TagKeys=["a"])
    do("update_time_to_live", TableName="t", TimeToLiveSpecification={"Enabled": True, "AttributeName": "e"})
    do("describe_time_to_live", TableName="t")
    do(
        "update_continuous_backups",
        TableName="t",
        PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True},
    )
    do("describe_continuous_backups", TableName="t")
    do("create_backup", TableName="t", BackupName="back")
    do("list_backups", TableName="t")
    do("describe_limits")
    do("describe_endpoints")
    do("update_table", TableName="t", BillingMode="PROVISIONED",
       ProvisionedThroughput={"ReadCapacityUnits": 1, "WriteCapacityUnits": 1})  # fmt: skip
    do("delete_table", TableName="t")
    do("describe_table", TableName="t")


def queues(do):
    """SQS."""
    url = do("create_queue", QueueName="q", Attributes={"DelaySeconds": "0"}, tags={"a": "b"})["QueueUrl"]
    do("create_queue", QueueName="q.fifo", Attributes={"FifoQueue": "true"})
    attributes = {"n": {"DataType": "String", "StringValue": "ü"}}
    do("send_message", QueueUrl=url, MessageBody="grüße\n&<>", MessageAttributes=attributes)
    do("send_message_batch", QueueUrl=url, Entries=[{"Id": str(n), "MessageBody": f"m{n}"} for n in range(3)])
    received = do("receive_message", QueueUrl=url, MessageAttributeNames=["All"], MaxNumberOfMessages=1)
    handle = received["Messages"][0]["ReceiptHandle"]
    do("change_message_visibility", QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=30)
    do("delete_message", QueueUrl=url, ReceiptHandle=handle)
    do("get_queue_attributes", QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages", "QueueArn"])
    do("set_queue_attributes", QueueUrl=url, Attributes={"VisibilityTimeout": "60"})
    do("list_queue_tags", QueueUrl=url)
    do("tag_queue", QueueUrl=url, Tags={"c": "d"})
    do("untag_queue", QueueUrl=url, TagKeys=["a"])
    do("add_permission", QueueUrl=url, Label="l", AWSAccountIds=["123456789012"], Actions=["SendMessage"])
    do("remove_permission", QueueUrl=url, Label="l")
    do("list_dead_letter_source_queues", QueueUrl=url)
    do("purge_queue", QueueUrl=url)
    do("get_queue_url", QueueName="missing")
    do("delete_queue", QueueUrl=url)


def topics(do):
    """SNS, of the query protocol."""
    arn = do("create_topic", Name="t", Attributes={"DisplayName": "grüße & <>"})["TopicArn"]
    do("list_topics")
    do("set_topic_attributes", TopicArn=arn, AttributeName="DisplayName", AttributeValue="x=y&z")
    do("get_topic_attributes", TopicArn=arn)
    subscribed = do(
        "subscribe", TopicArn=arn, Protocol="email", Endpoint="a+b@example.com", ReturnSubscriptionArn=True
    )
    do("list_subscriptions")
    do("list_subscriptions_by_topic", TopicArn=arn)
    do("publish", TopicArn=arn, Message="hällo", Subject="s",
       MessageAttributes={"a": {"DataType": "String", "StringValue": "v"}})  # fmt: skip
    do("publish_batch", TopicArn=arn, PublishBatchRequestEntries=[{"Id": "1", "Message": "m"}])
    do("tag_resource", ResourceArn=arn, Tags=[{"Key": "k", "Value": "v"}])
    do("list_tags_for_resource", ResourceArn=arn)
    do("untag_resource", ResourceArn=arn, TagKeys=["k"])
    do("create_platform_application", Name="p", Platform="GCM", Attributes={"PlatformCredential": "x"})
    do("list_platform_applications")
    do("unsubscribe", SubscriptionArn=subscribed["SubscriptionArn"])
    do("publish", TopicArn=arn + "-missing", Message="m")
    do("delete_topic", TopicArn=arn)


def functions(do):
    """Lambda, but for running code."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(zipfile.ZipInfo("handler.py"), "def handler(event, context): return event")
    role = "arn:aws:iam::123456789012:role/DemoAdmin"
    function = {"FunctionName": "f", "Runtime": "python3.12", "Role": role, "Handler": "handler.handler"}
    do(
        "create_function",
        **function,
        Code={"ZipFile": packed.getvalue()},
        Environment={"Variables": {"A": "b"}},
    )
    do("list_functions")
    do("get_function", FunctionName="f")
    do("get_function", FunctionName="arn:aws:lambda:us-east-1:123456789012:function:f")
    do("get_function_configuration", FunctionName="f")
    do("update_function_configuration", FunctionName="f", Timeout=10)
    do("update_function_code", FunctionName="f", ZipFile=packed.getvalue())
    do("publish_version", FunctionName="f")
    do("list_versions_by_function", FunctionName="f")
    do("create_alias", FunctionName="f", Name="a", FunctionVersion="1")
    do("get_alias", FunctionName="f", Name="a")
    do("list_aliases", FunctionName="f")
    do("delete_alias", FunctionName="f", Name="a")
    arn = "arn:aws:lambda:us-east-1:123456789012:function:f"
    do("tag_resource", Resource=arn, Tags={"k": "v"})
    do("list_tags", Resource=arn)
    do("untag_resource", Resource=arn, TagKeys=["k"])
    do("put_function_concurrency", FunctionName="f", ReservedConcurrentExecutions=1)
    do("get_function_concurrency", FunctionName="f")
    do(
        "add_permission",
        FunctionName="f",
        StatementId="s",
        Action="lambda:InvokeFunction",
        Principal="s3.amazonaws.com",
    )
    do("get_policy", FunctionName="f")
    do("remove_permission", FunctionName="f", StatementId="s")
    do("create_function_url_config", FunctionName="f", AuthType="AWS_IAM")
    do("publish_layer_version", LayerName="l", Content={"ZipFile": packed.getvalue()})
    do("list_layers")
    do("invoke", FunctionName="missing", Payload=b'{"a": 1}', InvocationType="RequestResponse")
    do("delete_function", FunctionName="f")
