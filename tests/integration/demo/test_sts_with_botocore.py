"""The real AWS client against the emulator: what it parses and raises is the point."""

import botocore.exceptions
import botocore.session
import httpx2
import pytest
from botocore import UNSIGNED
from botocore.config import Config

ROLE = "arn:aws:iam::123456789012:role/DemoAdmin"


@pytest.fixture(scope="module")
def client(stack):
    config = Config(
        signature_version=UNSIGNED,
        retries={"total_max_attempts": 1, "mode": "standard"},
        connect_timeout=2,
        read_timeout=2,
        proxies={},
    )
    session = botocore.session.Session()
    client = session.create_client("sts", region_name="us-east-1", endpoint_url=stack.sts, config=config)
    yield client
    client.close()


@pytest.fixture
def faults(stack):
    def set_fault(**body):
        httpx2.post(f"{stack.sts}/_control/faults", json=body, trust_env=False).raise_for_status()

    yield set_fault
    httpx2.post(f"{stack.sts}/_control/reset", trust_env=False)


def assume(client, token, **parameters):
    parameters = {"RoleArn": ROLE, "RoleSessionName": "alice", "WebIdentityToken": token, **parameters}
    return client.assume_role_with_web_identity(**parameters)


def test_botocore_reads_the_answer(client, stack):
    answer = assume(
        client, stack.token(), Policy='{"Statement": []}', PolicyArns=[{"arn": "arn:aws:iam::aws:policy/X"}]
    )
    credentials = answer["Credentials"]
    known = httpx2.get(
        f"{stack.sts}/_control/credentials/{credentials['AccessKeyId']}", trust_env=False
    ).json()
    assert known["secret_access_key"] == credentials["SecretAccessKey"]
    assert known["session_token"] == credentials["SessionToken"]
    assert known["policy_arns"] == ["arn:aws:iam::aws:policy/X"]
    assert credentials["Expiration"].tzinfo is not None
    assert answer["SubjectFromWebIdentityToken"] == "demo-admin"
    assert answer["AssumedRoleUser"]["Arn"].endswith("assumed-role/DemoAdmin/alice")
    assert answer["Provider"] == stack.idp
    assert answer["PackedPolicySize"] >= 1
    assert answer["ResponseMetadata"]["RequestId"]
    assert "," in answer["ResponseMetadata"]["HTTPHeaders"]["date"]


@pytest.mark.parametrize(
    ("mode", "exception", "status"),
    [
        ("expired", "ExpiredTokenException", 400),
        ("idp_unreachable", "IDPCommunicationErrorException", 400),
        ("malformed_policy", "MalformedPolicyDocumentException", 400),
        ("region_disabled", "RegionDisabledException", 403),
        ("throttle", "ClientError", 400),
        ("access_denied", "ClientError", 403),
        ("fail", "ClientError", 500),
    ],
)
def test_botocore_knows_the_errors(*, client, stack, faults, mode, exception, status):
    faults(mode=mode)
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        assume(client, stack.token())
    assert type(caught.value).__name__ == exception
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


@pytest.mark.parametrize(
    ("mode", "exception"),
    [("malformed", Exception), ("empty4xx", botocore.parsers.ResponseParserError), ("html200", KeyError)],
)
def test_botocore_stumbles_over_broken_answers(client, stack, faults, mode, exception):
    faults(mode=mode)
    with pytest.raises(exception):
        assume(client, stack.token())


def test_botocore_gives_up_on_a_slow_emulator(client, stack, faults):
    faults(mode="slow", delay=3, count=1)
    with pytest.raises(botocore.exceptions.ReadTimeoutError):
        assume(client, stack.token())


def test_real_refusals_reach_botocore_as_its_own_exceptions(client, stack):
    with pytest.raises(client.exceptions.ExpiredTokenException):
        assume(client, stack.token(lifetime="-1"))
    with pytest.raises(client.exceptions.InvalidIdentityTokenException, match="Incorrect token audience"):
        assume(client, stack.token(audience="elsewhere"))
    with pytest.raises(botocore.exceptions.ClientError, match="AccessDenied"):
        assume(client, stack.token(), RoleArn=ROLE + "X")
    with pytest.raises(botocore.exceptions.ClientError, match="ValidationError"):
        assume(client, stack.token(), RoleSessionName="a b")
