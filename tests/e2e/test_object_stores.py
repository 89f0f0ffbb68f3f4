"""The real MinIO, with its own STS and role, and the real versitygw: signatures and data through the gateway."""

import hashlib
import io
import shutil

import boto3
import pytest
import yaml
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

from extproc.demo.ports import free_ports
from support.aws_double import REGION
from support.aws_gateway import Gateway, gateway
from support.object_stores import KEYS, fixed_sts, minio, minio_role, program, versitygw
from support.stacks import ImpatientStack

MIB = 1024 * 1024
needs_minio = pytest.mark.skipif(program("minio") is None, reason="no MinIO: make object-stores (needs Go)")
needs_versitygw = pytest.mark.skipif(
    program("versitygw") is None, reason="no versitygw: make object-stores (needs Go)"
)


def directly(store):
    """A client with the store's own keys, which signs by itself."""
    return boto3.Session(region_name=REGION).client(
        "s3",
        endpoint_url=store.url,
        aws_access_key_id=KEYS[0],
        aws_secret_access_key=KEYS[1],
        # versitygw 1.0 gives the checksum of a file in parts wrongly, also of one it got directly: bytes are compared.
        config=Config(s3={"addressing_style": "path"}, response_checksum_validation="when_required"),
    )


@pytest.fixture(scope="module")
def at_minio(tmp_path_factory):
    directory = tmp_path_factory.mktemp("minio")
    (port,) = free_ports(1)

    def adjust(text):
        settings = yaml.safe_load(text)
        settings["fallback_role_arn"] = minio_role(settings["resource"]["url"])
        settings["role_mappings"] = []
        settings["observe_upstream"] = True
        return yaml.safe_dump(settings)

    url = f"http://127.0.0.1:{port}"
    with (
        gateway(directory, url, sts_url=url, adjust=adjust, kind=ImpatientStack) as (stack, ca_file),
        minio(directory, addresses=stack.addresses, port=port) as store,
    ):
        yield Gateway(stack, store, ca_file)


@pytest.fixture(scope="module")
def at_versitygw(tmp_path_factory):
    directory = tmp_path_factory.mktemp("versitygw")
    with (
        versitygw(directory) as store,
        fixed_sts() as sts_url,
        gateway(directory, store.url, sts_url=sts_url) as (stack, ca_file),
    ):
        yield Gateway(stack, store, ca_file)


@pytest.fixture(
    params=[pytest.param("at_minio", marks=needs_minio), pytest.param("at_versitygw", marks=needs_versitygw)]
)
def at_store(request):
    return request.getfixturevalue(request.param)


def test_objects_are_stored_as_they_were_sent(at_store):
    client, direct = at_store.client("s3"), directly(at_store.upstream)
    client.create_bucket(Bucket="things")
    body = bytes(range(256)) * 2000
    key = "folder/a b+c&=ü€'()*!~.txt"
    client.put_object(Bucket="things", Key=key, Body=body, Metadata={"a": "b"}, ContentType="text/x-odd")
    client.put_object(Bucket="things", Key="stream", Body=io.BytesIO(body), ChecksumAlgorithm="SHA256")
    client.copy_object(Bucket="things", Key="copy", CopySource={"Bucket": "things", "Key": key})
    for name in (key, "stream", "copy"):
        stored = direct.get_object(Bucket="things", Key=name)
        assert stored["Body"].read() == body
        assert stored.get("ContentEncoding", "") == ""
        assert client.get_object(Bucket="things", Key=name)["Body"].read() == body
    assert direct.head_object(Bucket="things", Key="copy")["Metadata"] == {"a": "b"}
    assert direct.head_object(Bucket="things", Key=key)["ContentType"] == "text/x-odd"
    assert {one["Key"] for one in client.list_objects_v2(Bucket="things")["Contents"]} == {
        key,
        "stream",
        "copy",
    }


def test_a_large_upload_in_parts_arrives_whole(at_store):
    client, direct = at_store.client("s3"), directly(at_store.upstream)
    client.create_bucket(Bucket="large")
    body = hashlib.sha256(b"seed").digest() * (MIB // 32) * 20
    options = TransferConfig(multipart_threshold=8 * MIB, multipart_chunksize=8 * MIB, max_concurrency=2)
    client.upload_fileobj(io.BytesIO(body), "large", "big", Config=options)
    stored = direct.get_object(Bucket="large", Key="big")["Body"].read()
    assert (len(stored), hashlib.sha256(stored).digest()) == (len(body), hashlib.sha256(body).digest())


def test_a_wrong_checksum_is_refused_and_nothing_is_stored(at_store):
    client, direct = at_store.client("s3"), directly(at_store.upstream)
    client.create_bucket(Bucket="sums")
    with pytest.raises(ClientError):
        client.put_object(Bucket="sums", Key="k", Body=b"x", ChecksumSHA256="A" * 43 + "=")
    assert "Contents" not in direct.list_objects_v2(Bucket="sums")


@needs_minio
def test_minio_gives_each_user_credentials_by_its_own_role(at_minio):
    tokens = [at_minio.token(account) for account in ("demo-admin", "demo-developer")]
    for token in tokens:
        at_minio.client("s3", read_token=lambda token=token: token).list_buckets()


@needs_minio
def test_credentials_that_minio_has_forgotten_are_replaced(at_minio):
    client, store = at_minio.client("s3"), at_minio.upstream
    client.list_buckets()
    store.stop()
    shutil.rmtree(store.data)
    store.data.mkdir()
    store.start()
    with pytest.raises(ClientError) as refused:
        client.list_buckets()
    assert refused.value.response["Error"]["Code"] == "InvalidAccessKeyId"
    assert client.list_buckets()["ResponseMetadata"]["HTTPStatusCode"] == 200


@needs_minio
def test_a_token_that_minio_takes_for_expired_is_401(at_minio):
    # Ended five seconds ago: within our leeway of 30 s, and not within MinIO's, which has none.
    token = at_minio.stack.token("demo-admin", lifetime="-5")
    with pytest.raises(ClientError) as refused:
        at_minio.client("s3", read_token=lambda: token).list_buckets()
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 401
