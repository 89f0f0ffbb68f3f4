"""The listener's files: what is refused, what is read again, and what is kept."""

import pytest

from extproc.grpc_server.certificates import CertificateError, CertificateFiles
from support.certificates import LOCAL, Authority


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def pair(authority):
    return authority.issue("server", *LOCAL)


def files(pair, client_ca=None):
    return CertificateFiles(certificate=pair.certificate, private_key=pair.key, client_ca=client_ca)


def test_the_names_and_the_end_of_a_certificate_are_known(pair, authority):
    current = files(pair, authority.certificate).current()
    assert current.names == ("localhost", "127.0.0.1")
    assert current.client_ca == authority.certificate.read_bytes()
    assert current.expires_at.tzinfo is not None


def test_the_private_key_is_not_shown(pair):
    assert "PRIVATE" not in repr(files(pair).current())


@pytest.mark.parametrize(
    ("break_it", "named", "problem"),
    [
        (lambda pair, _: pair.certificate.write_text("x"), "server.pem", "no certificate in PEM"),
        (lambda pair, _: pair.certificate.write_text(""), "server.pem", "no certificate in PEM"),
        (lambda pair, _: pair.certificate.unlink(), "server.pem", "No such file or directory"),
        (lambda pair, _: pair.key.write_text("canary-secret"), "server-key.pem", "no private key in PEM"),
        (lambda pair, _: pair.key.write_bytes(b"\xff"), "server-key.pem", "no private key in PEM"),
        (lambda pair, _: pair.key.unlink(), "server-key.pem", "No such file or directory"),
        (lambda pair, ca: ca.issue("other").copy_key_to(pair), "server-key.pem", "not the key of"),
        (lambda _, ca: ca.certificate.write_text("x"), "ca.pem", "no certificate in PEM"),
        (lambda _, ca: ca.certificate.unlink(), "ca.pem", "No such file or directory"),
    ],
)
def test_unusable_files_are_named_when_first_read_and_not_taken_later(
    pair, authority, break_it, named, problem
):
    read_before = files(pair, authority.certificate)
    good = read_before.current()
    break_it(pair, authority)
    assert read_before.current() is good
    assert problem in read_before.failure
    with pytest.raises(CertificateError, match=rf"{named}: .*{problem}|{named}: {problem}") as error:
        files(pair, authority.certificate)
    assert "canary" not in str(error.value)


def test_unchanged_files_give_the_same_object(pair):
    read = files(pair)
    assert read.current() is read.current()


def test_a_replaced_pair_is_read_at_once(pair, authority):
    read = files(pair)
    before = read.current()
    renewed = authority.issue("renewed", *LOCAL)
    renewed.copy_to(pair)
    assert read.current() is not before
    assert read.current().chain == renewed.certificate.read_bytes()


def test_a_swap_of_the_mounted_directory_is_seen(tmp_path, authority):
    """Kubernetes mounts a Secret as links through ``..data``, and exchanges that link."""
    for version in ("v1", "v2"):
        folder = tmp_path / version
        folder.mkdir()
        fresh = authority.issue(version, *LOCAL)
        fresh.certificate.rename(folder / "tls.crt")
        fresh.key.rename(folder / "tls.key")
    (tmp_path / "..data").symlink_to("v1")
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    read = CertificateFiles(certificate=tmp_path / "tls.crt", private_key=tmp_path / "tls.key")
    first = read.current()
    (tmp_path / "..data_tmp").symlink_to("v2")
    (tmp_path / "..data_tmp").replace(tmp_path / "..data")
    assert read.current().chain == (tmp_path / "v2" / "tls.crt").read_bytes() != first.chain


def test_a_pair_that_is_replaced_file_by_file_is_taken_when_it_is_whole(pair, authority):
    read = files(pair)
    old = read.current()
    renewed = authority.issue("renewed", *LOCAL)
    pair.certificate.write_bytes(renewed.certificate.read_bytes())
    assert read.current() is old
    assert "not the key of" in read.failure
    pair.key.write_bytes(renewed.key.read_bytes())
    assert read.current().chain == renewed.certificate.read_bytes()
    assert read.failure is None


def test_a_broken_pair_is_not_read_again_until_it_changes(pair, monkeypatch):
    read = files(pair)
    pair.key.write_text("broken")
    read.current()
    monkeypatch.setattr("extproc.grpc_server.certificates._read", lambda _: pytest.fail("read again"))
    read.current()
