"""Credentials stay in memory: no repr, no pickle."""

import copy
import pickle
from types import MappingProxyType

import pytest

from extproc.sessions.session import Authorized, Granted, LiveCredentials, Session
from extproc.values import Credentials, Grant, Identity, SharedHeaders
from support.tables import each_case

CREDENTIALS = Credentials(
    access_key_id="ASIAEXAMPLE",
    secret_access_key="hunter2",
    session_token="tok3n",
    expires_at=1_800_000_000.0,
)
SESSION = Session(
    identity=Identity("https://idp.example.com/", "alice", 1.0, MappingProxyType({"email": "cl41m"}), b"k3y"),
    digest=b"d1gest",
    unverified_web_identity_token="eyJ.tok3n.x",
)
GRANT = Grant("arn:aws:iam::123456789012:role/R", "alice", 900, None)
LIVE = LiveCredentials(CREDENTIALS, 1.0, 1.0, 2.0)
AUTHORIZED = Authorized(SESSION, Granted(GRANT), LIVE)
SHARED = SharedHeaders((("x-amz-security-token", "tok3n"),))


@each_case("value", [CREDENTIALS, SESSION, [SESSION], {"s": SESSION}, AUTHORIZED])
@each_case("show", [repr, str, "{}".format, "%s".__mod__], ids=["repr", "str", "format", "percent"])
def test_no_secret_shows(value, show):
    text = show((value,)) if show.__name__ == "__mod__" else show(value)
    assert "ASIAEXAMPLE" in text or "alice" in text
    for secret in ("hunter2", "tok3n", "cl41m", "k3y", "d1gest"):
        assert secret not in text


@each_case("value", [CREDENTIALS, SESSION, LIVE, AUTHORIZED, SHARED])
@each_case("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_credentials_refuse_to_be_pickled(value, protocol):
    with pytest.raises(TypeError):
        pickle.dumps(value, protocol)


def test_credentials_refuse_to_be_copied():
    with pytest.raises(TypeError):
        copy.copy(CREDENTIALS)
    with pytest.raises(TypeError):
        copy.deepcopy(SESSION)
