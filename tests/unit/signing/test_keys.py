"""Signing keys live as long as the credentials they come from."""

import gc

from extproc.signing.keys import SigningKeys
from extproc.signing.sigv4 import Scope, signing_key
from extproc.values import Credentials

SCOPE = Scope("us-east-1", "aws-mcp")


def credentials(secret="secret"):
    return Credentials("ASIAEXAMPLE", secret, "token", 2_000_000_000.0)


def test_a_key_is_the_derived_one_and_is_derived_once():
    keys, ours = SigningKeys(), credentials()
    first = keys.key(ours, "20150830", SCOPE)
    assert first == signing_key("secret", "20150830", SCOPE)
    assert keys.key(ours, "20150830", SCOPE) is first


def test_day_scope_and_credentials_give_keys_of_their_own():
    keys, ours, theirs = SigningKeys(), credentials(), credentials("other")
    made = {
        keys.key(ours, "20150830", SCOPE),
        keys.key(ours, "20150830", Scope("us-east-2", "aws-mcp")),
        keys.key(ours, "20150830", Scope("us-east-1", "lambda")),
        keys.key(ours, "20150831", SCOPE),
        keys.key(theirs, "20150830", SCOPE),
    }
    assert len(made) == 5


def test_a_new_day_throws_the_old_keys_away():
    keys, ours = SigningKeys(), credentials()
    old = keys.key(ours, "20150830", SCOPE)
    keys.key(ours, "20150831", SCOPE)
    assert keys.key(ours, "20150830", SCOPE) is not old


def test_nothing_is_kept_of_credentials_that_are_gone():
    keys, ours = SigningKeys(), credentials()
    keys.key(ours, "20150830", SCOPE)
    assert len(keys) == 1
    del ours
    gc.collect()
    assert len(keys) == 0
