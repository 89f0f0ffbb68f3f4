"""Names, keys and seals of the shared store."""

import base64
import dataclasses
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.sessions.revocation import Selector
from extproc.sessions.session import token_digest
from extproc.sessions.sharing import Obtained
from extproc.shared_store import revocation_entries, sealing
from extproc.shared_store.entries import Entry
from extproc.shared_store.keys import SecretError, ServerKeys, read_keys
from extproc.shared_store.revocation_entries import RevocationTable, SharedRevocation
from extproc.values import ChainedRole, Credentials, Identity
from support.credentials import grant
from support.tables import each_case

KEYS, OTHER_KEYS = ServerKeys.of(b"s" * 32), ServerKeys.of(b"o" * 32)
texts = st.text(max_size=50)
tokens = st.text(string.ascii_letters + string.digits + "-_.", min_size=1, max_size=50)
times = st.floats(min_value=0, max_value=1e11)
grants = st.builds(
    grant,
    role_arn=texts,
    session_name=texts,
    duration=st.integers(900, 43200),
    mapping=st.none() | texts,
    policy_arns=st.lists(texts, max_size=3).map(tuple),
    policy=st.none() | texts,
    chain=st.none() | st.builds(ChainedRole, role_arn=texts, external_id=st.none() | texts),
)


def entry(token="a.b.c", keys=(KEYS,), site="us-east-1", **fields):
    return Entry(
        keys,
        digest=token_digest(token),
        unverified_token=token,
        grant=fields.pop("granted", None) or grant(**fields),
        exchange_site=site,
    )


def shared(**fields):
    return Obtained(
        Credentials(
            **{
                "access_key_id": "ASIA1",
                "secret_access_key": "s",
                "session_token": "t",
                "expires_at": 9.5,
                **fields,
            }
        ),
        1.25,
        8.5,
    )


@given(
    content=st.builds(bytes.ljust, st.binary(max_size=100), st.integers(0, 33_000)),
    key=st.binary(min_size=32, max_size=32),
    name=texts,
)
def test_what_was_sealed_opens_and_has_one_of_a_few_sizes(content, key, name):
    try:
        sealed = sealing.seal(content, key=key, key_id=b"1234", name=name)
    except sealing.TooLargeError:
        assert len(content) > sealing.SIZES[-1] - 4
        return
    assert len(sealed) - 33 in sealing.SIZES
    assert sealing.unseal(sealed, key=key, key_id=b"1234", name=name) == content
    assert content == b"" or len(content) < 4 or content not in sealed


@given(data=st.data(), content=st.binary(max_size=100))
def test_no_changed_byte_opens(data, content):
    sealed = bytearray(sealing.seal(content, key=b"k" * 32, key_id=b"1234", name="n"))
    position = data.draw(st.integers(0, len(sealed) - 1))
    sealed[position] ^= data.draw(st.integers(1, 255))
    assert sealing.unseal(bytes(sealed), key=b"k" * 32, key_id=b"1234", name="n") is None


@given(sealed=st.binary(max_size=100))
def test_no_other_bytes_open(sealed):
    for value in (sealed, sealing.VERSION + b"1234" + sealed):
        assert sealing.unseal(value, key=b"k" * 32, key_id=b"1234", name="n") is None


def test_what_fits_no_size_is_not_sealed():
    with pytest.raises(sealing.TooLargeError):
        sealing.seal(bytes(sealing.SIZES[-1]), key=b"k" * 32, key_id=b"1234", name="n")


def test_a_seal_opens_with_its_own_key_name_and_key_id_only():
    sealed = sealing.seal(b"c", key=b"k" * 32, key_id=b"1234", name="n")
    assert sealing.unseal(sealed, key=b"l" * 32, key_id=b"1234", name="n") is None
    assert sealing.unseal(sealed, key=b"k" * 32, key_id=b"1234", name="m") is None
    assert sealing.unseal(sealed, key=b"k" * 32, key_id=b"4321", name="n") is None


@given(token=tokens, granted=grants, expires_at=times)
def test_credentials_come_back_as_they_were(token, granted, expires_at):
    made = entry(token, granted=granted)
    before = shared(expires_at=expires_at)
    after = made.unseal(made.names[0], made.seal(before))
    assert after is not None
    assert (after.obtained_at, after.token_ends_at) == (before.obtained_at, before.token_ends_at)
    assert dataclasses.asdict(after.credentials) == dataclasses.asdict(before.credentials)


@given(one=st.tuples(tokens, grants, texts), other=st.tuples(tokens, grants, texts))
def test_equal_names_mean_the_same_token_grant_and_sts(one, other):
    first, second = (entry(token, granted=granted, site=site) for token, granted, site in (one, other))
    assert (first.names == second.names) == (one == other)


@given(one=tokens, other=tokens)
def test_no_token_opens_what_another_sealed_even_under_its_name(one, other):
    sealed = entry(one).seal(shared())
    thief = entry(one)
    thief._token = other.encode()
    assert (thief.unseal(thief.names[0], sealed) is not None) == (one == other)


def test_an_entry_has_a_name_for_each_secret_and_seals_under_the_first():
    both, old = entry(keys=(OTHER_KEYS, KEYS)), entry(keys=(KEYS,))
    assert both.names[1] == old.names[0]
    assert both.names[0].startswith(OTHER_KEYS.key_id.hex())
    assert both.unseal(both.names[1], old.seal(shared())) is not None
    assert old.unseal(old.names[0], both.seal(shared())) is None


def test_secrets_do_not_show():
    for value in (KEYS, shared(secret_access_key="very secret")):
        assert "very secret" not in repr(value)
        assert repr(KEYS.salt)[2:-1] not in repr(value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "one secret, or two"),
        (b"a b c", "one secret, or two"),
        (b"!", "base64"),
        (base64.b64encode(b"short"), "at least 32 bytes"),
        (base64.b64encode(b"s" * 32) + b"\n" + base64.b64encode(b"s" * 32), "the same"),
    ],
)
def test_a_file_without_usable_secrets_is_refused_without_quoting_it(tmp_path, content, problem):
    file = tmp_path / "secret"
    file.write_bytes(content)
    with pytest.raises(SecretError, match=problem):
        read_keys(file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SecretError, match="none: No such file"):
        read_keys(tmp_path / "none")


def test_two_secrets_are_read_in_their_order(tmp_path):
    file = tmp_path / "secret"
    file.write_bytes(base64.b64encode(b"o" * 32) + b"\n" + base64.b64encode(b"s" * 32) + b"\n")
    assert read_keys(file) == (OTHER_KEYS, KEYS)


HOUR = 3600.0


def revocation(now=5.0, deny_until=None, **conditions):
    return SharedRevocation(Selector(**conditions), 0.0, 0.0).revoked(now, deny_until=deny_until)


events = st.lists(
    st.tuples(st.sampled_from(["revoke", "refuse", "lift"]), st.integers(1, 9), st.integers(0, 9)), max_size=6
)


def after(happened, start=None):
    state = start or SharedRevocation(Selector(subject="alice"), 0.0, 0.0)
    for kind, now, length in happened:
        if kind == "lift":
            state = state.lifted(float(now))
        else:
            state = state.revoked(
                float(now), deny_until=None if kind == "revoke" else float(now + length) * HOUR
            )
    return state


@given(
    conditions=st.fixed_dictionaries(
        {name: st.none() | texts for name in ("issuer", "subject", "token_id", "role_arn")}
    ),
    deny_until=st.none() | times,
    at=times,
)
def test_a_revocation_comes_back_as_it_was_and_under_no_other_name(conditions, deny_until, at):
    made = revocation(at, deny_until, **conditions)
    sealed, name = made.seal(KEYS), made.name(KEYS)
    assert revocation_entries.unseal((OTHER_KEYS, KEYS), name, sealed) == made
    assert revocation_entries.unseal((OTHER_KEYS, KEYS), name + "0", sealed) is None
    assert revocation_entries.unseal((OTHER_KEYS,), name, sealed) is None


def test_a_revocation_without_a_refusal_leaves_an_earlier_refusal():
    refused = revocation(5.0, 1000.0, subject="alice")
    again = refused.revoked(6.0, deny_until=None)
    assert (again.revoked_at, again.deny_until) == (6.0, 1000.0)


def test_of_two_refusals_the_longer_one_counts():
    assert revocation(5.0, 1000.0, subject="alice").revoked(6.0, deny_until=100.0).deny_until == 1000.0


def test_a_refusal_is_lifted_and_made_again_whatever_the_clocks_of_two_replicas_say():
    refused = revocation(5.0, 1000.0, subject="alice")
    lifted = refused.lifted(4.0)
    assert (lifted.deny_until, lifted.is_lifted, lifted.revoked_at) == (None, True, 5.0)
    again = lifted.revoked(3.0, deny_until=900.0)
    assert (again.deny_until, again.is_lifted) == (900.0, False)


@given(before=events, later=events)
def test_an_older_form_that_is_put_back_changes_nothing(before, later):
    old = after(before)
    new = after(later, old)
    assert new.merged(old) == old.merged(new) == new
    assert new.kept_until >= max(old.kept_until, old.deny_until or 0.0)


@given(one=events, other=events)
def test_replicas_that_changed_one_at_the_same_time_agree_and_refuse_what_either_refuses(one, other):
    first, second = after(one), after(other)
    both = first.merged(second)
    assert both == second.merged(first) == both.merged(first) == both.merged(second)
    if not any(kind == "lift" for kind, _, _ in one + other):
        assert (both.deny_until or 0.0) == max(first.deny_until or 0.0, second.deny_until or 0.0)
    assert both.revoked_at == max(first.revoked_at, second.revoked_at)


def test_a_table_has_one_of_each_selector():
    table = RevocationTable()
    table.put(revocation(5.0, subject="alice"))
    table.put(revocation(6.0, subject="alice"))
    table.put(revocation(7.0, subject="alice", issuer="https://idp.example"))
    table.remove(revocation(subject="alice", issuer="https://idp.example"))
    assert [each.revoked_at for each in table] == [6.0]
    assert table.get(Selector(subject="bob")).revoked_at == 0.0
    table.remove(revocation(subject="alice"))
    assert list(table) == []


@each_case(
    ("conditions", "hits"),
    [
        ({"subject": "alice"}, True),
        ({"subject": "bob"}, False),
        ({"issuer": "https://idp.example"}, True),
        ({"issuer": "https://idp.example", "subject": "bob"}, False),
        ({"token_id": "7"}, True),
        ({"token_id": "8"}, False),
        ({"role_arn": "arn:aws:iam::123456789012:role/Reader"}, True),
        ({"role_arn": "arn:aws:iam::123456789012:role/Other"}, False),
        ({"subject": "alice", "role_arn": "arn:aws:iam::123456789012:role/Other"}, False),
    ],
)
def test_credentials_are_revoked_by_what_a_revocation_selects(conditions, hits):
    identity = Identity("https://idp.example", "alice", 9e9, {"jti": "7"}, b"k")
    table = RevocationTable()
    assert table.revoked_at(identity, grant()) == 0.0
    table.put(revocation(3.0, **conditions))
    assert table.revoked_at(identity, grant()) == (3.0 if hits else 0.0)


def test_a_revocation_without_conditions_is_refused():
    with pytest.raises(ValueError, match="one condition"):
        RevocationTable().put(revocation())


def test_a_revocation_is_kept_until_neither_its_refusal_nor_credentials_from_before_it_are_left():
    assert revocation(100.0, subject="a").kept_until == 100.0 + 12 * HOUR
    assert revocation(100.0, 1e6, subject="a").kept_until == 1e6
    assert revocation(100.0, 1e6, subject="a").lifted(200.0).kept_until == 1e6
