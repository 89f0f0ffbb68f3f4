"""``cache.shared``: what is refused, and why."""

import pytest

from extproc.config import ConfigError
from extproc.config.shared_store import SharedStore
from support.settings import minimal_settings
from support.tables import each_case

ROLE = {"fallback_role_arn": "arn:aws:iam::123456789012:role/Reader"}


def shared(**fields):
    given = {"url": "valkeys://store.example:6379", "secret_file": "/secret", **fields}
    return minimal_settings(**ROLE, cache={"shared": given}).cache.shared


@each_case(
    "fields",
    [
        {},
        {"url": "rediss://store.example"},
        {"url": "valkey://127.0.0.1:6379/3"},
        {"url": "unix:///run/valkey.sock"},
        {"url": "valkey://store.example", "insecure_plaintext": True},
        {"sentinel": "main", "nodes": ["b:26379", "c:26379"]},
        {"cluster": True, "nodes": ["b:6379"]},
        {"username": "extproc", "password_file": "/password", "ca_file": "/ca.pem"},
        {"certificate": "/c.pem", "private_key": "/k.pem"},
    ],
)
def test_every_way_to_a_store_can_be_configured(fields):
    assert isinstance(shared(**fields), SharedStore)


@each_case(
    ("fields", "problem"),
    [
        ({"url": "valkey://store.example"}, "clear text"),
        ({"url": "valkey://127.0.0.1", "sentinel": "main", "nodes": ["b:26379"]}, "clear text"),
        ({"url": "valkeys://user:password@store.example"}, "password_file"),
        ({"url": "http://store.example"}, "must be a URL of valkey"),
        ({"url": "valkeys://store.example?db=1"}, "must be a URL of valkey"),
        ({"url": "valkeys://store.example/zero"}, "number of a database"),
        ({"url": "valkeys://store.example:99999"}, "url"),
        ({"url": "valkeys://"}, "like valkeys://HOST:PORT"),
        ({"url": "unix://relative/path"}, "absolute path"),
        ({"url": "unix:///run/valkey.sock", "cluster": True}, "Unix socket"),
        ({"sentinel": "main", "cluster": True}, "exclude each other"),
        ({"nodes": ["b:6379"]}, "needs sentinel or cluster"),
        ({"cluster": True, "url": "valkeys://store.example/1"}, "no database but 0"),
        ({"certificate": "/c.pem"}, "belong together"),
        ({"url": "valkey://127.0.0.1", "ca_file": "/ca.pem"}, "need valkeys://"),
        ({"username": "extproc"}, "needs password_file"),
        ({"timeout": 0}, "timeout"),
        ({"prefix": "a:b"}, "prefix"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_what_cannot_be_meant_is_refused_without_quoting_a_password(fields, problem):
    with pytest.raises(ConfigError) as error:
        shared(**fields)
    message = "\n".join(error.value.problems)
    assert problem in message
    assert "user:password" not in message
