"""Fetching key documents from real servers on loopback: good ones, broken ones and hostile ones."""

import asyncio
import datetime as dt
import gzip
import http.client
import ipaddress
import json
import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from extproc.authn import provider
from extproc.authn.jwks import KeyDocumentError
from extproc.authn.provider import (
    MAX_DOCUMENT_BYTES,
    Discovery,
    HttpDocuments,
    JwksFile,
    JwksUri,
    _Call,
)
from support.served import served
from support.tokens import ec_key, key_set, key_store, public_jwk

DOCUMENT = key_set(public_jwk(ec_key(), kid="ec-1"))
DOCUMENTS = HttpDocuments()  # has no state but the system's certificate authorities, which load slowly
WELL_KNOWN = "/.well-known/openid-configuration"


class Provider(ThreadingHTTPServer):
    """Serves what ``pages`` says: a path's value writes the answer with the handler it gets."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pages = {}
        self.requests = []
        self.asked = threading.Event()
        self.hung_up = threading.Event()  # a client ended a connection while we were still sending
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        """Clients that hang up are what some tests are about."""

    def drip(self, handler, piece=b" "):
        """Send one piece now and then until the client hangs up."""
        try:
            while True:
                handler.wfile.write(piece)
                time.sleep(0.01)
        except OSError:
            self.hung_up.set()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.close_connection = True
        self.server.requests.append((self.path, self.headers))
        self.server.asked.set()
        self.server.pages[self.path](self)

    def log_message(self, *args):
        """Say nothing."""


def _page(body=DOCUMENT, status=200, **headers):
    def write(handler):
        handler.send_response(status)
        for name, value in {"content_length": str(len(body)), **headers}.items():
            for line in value if isinstance(value, list) else [value]:
                handler.send_header(name.replace("_", "-"), line)
        handler.end_headers()
        handler.wfile.write(body)

    return write


@pytest.fixture
def idp():
    with served(Provider()) as server:
        yield server


async def _get(idp, path="/jwks"):
    return await DOCUMENTS.get(idp.url + path, allow_http=True)


async def _failure(idp, path="/jwks"):
    with pytest.raises(KeyDocumentError) as caught:
        await _get(idp, path)
    return str(caught.value)


# One document.


async def test_a_document_is_fetched_as_it_is(idp):
    idp.pages["/jwks?tenant=1"] = _page()
    document = await _get(idp, "/jwks?tenant=1#fragment")
    assert (document.body, document.max_age) == (DOCUMENT, None)
    ((path, headers),) = idp.requests
    assert path == "/jwks?tenant=1"
    assert headers["host"] == f"127.0.0.1:{idp.server_port}"
    assert headers["accept-encoding"] == "identity"
    assert "authorization" not in headers
    assert "cookie" not in headers


async def test_a_chunked_document_is_put_together(idp):
    def chunked(handler):
        handler.send_response(200)
        handler.send_header("transfer-encoding", "chunked")
        handler.end_headers()
        for piece in (DOCUMENT[:10], DOCUMENT[10:]):
            handler.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        handler.wfile.write(b"0\r\n\r\n")

    idp.pages["/jwks"] = chunked
    assert (await _get(idp)).body == DOCUMENT


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(idp, status):
    idp.pages["/jwks"] = _page(status=status, location=f"{idp.url}/elsewhere")
    idp.pages["/elsewhere"] = _page()
    assert (await _failure(idp)).endswith(f"HTTP status {status}")
    assert [path for path, _ in idp.requests] == ["/jwks"]


@pytest.mark.parametrize("status", [201, 206, 304, 400, 401, 404, 429, 500, 503])
async def test_only_a_200_is_a_document_and_nothing_is_retried(idp, status):
    idp.pages["/jwks"] = _page(status=status, retry_after="0")
    assert (await _failure(idp)).endswith(f"HTTP status {status}")
    assert len(idp.requests) == 1


async def test_a_document_of_the_largest_size_is_read_whole(idp):
    idp.pages["/jwks"] = _page(b"x" * MAX_DOCUMENT_BYTES)
    assert len((await _get(idp)).body) == MAX_DOCUMENT_BYTES


async def test_a_larger_document_is_refused(idp):
    idp.pages["/jwks"] = _page(b"x" * (MAX_DOCUMENT_BYTES + 1))
    assert "larger than 524288 bytes" in await _failure(idp)


@pytest.mark.parametrize("chunked", [True, False])
async def test_an_endless_document_is_refused_without_reading_on(idp, chunked):
    def endless(handler):
        handler.send_response(200)
        if chunked:
            handler.send_header("transfer-encoding", "chunked")
        handler.end_headers()
        piece = b"x" * 65_536
        try:
            while True:
                handler.wfile.write(b"10000\r\n%b\r\n" % piece if chunked else piece)
        except OSError:
            idp.hung_up.set()

    idp.pages["/jwks"] = endless
    assert "larger than 524288 bytes" in await _failure(idp)
    assert await asyncio.to_thread(idp.hung_up.wait, 30)


@pytest.mark.parametrize(
    "encoding", ["gzip", "GZIP", "deflate", "br", "zstd", "gzip, gzip", "identity, gzip"]
)
async def test_a_compressed_document_is_refused_unopened(idp, encoding):
    bomb = gzip.compress(b"\x00" * 64 * 1024 * 1024, compresslevel=1)
    assert len(bomb) < MAX_DOCUMENT_BYTES
    idp.pages["/jwks"] = _page(bomb, content_encoding=encoding)
    assert "compressed" in await _failure(idp)


async def test_compressed_bytes_that_are_not_called_so_stay_as_they_are(idp):
    packed = gzip.compress(DOCUMENT)
    idp.pages["/jwks"] = _page(packed, content_encoding="identity")
    assert (await _get(idp)).body == packed


async def test_a_document_cut_short_is_refused(idp):
    idp.pages["/jwks"] = _page(DOCUMENT, content_length=str(len(DOCUMENT) + 5))
    assert (await _failure(idp)).endswith("cut short")


@pytest.mark.parametrize(
    "answer",
    [b"", b"not HTTP\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000 + b"\r\n\r\n",
     b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 200 + b"\r\n",
     b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"],
)  # fmt: skip
async def test_what_is_no_http_answer_is_a_failure_like_any_other(idp, answer):
    idp.pages["/jwks"] = lambda handler: handler.wfile.write(answer)
    assert (await _failure(idp)).startswith(f"{idp.url}/jwks: ")


# Time.


def _drip_body(idp, handler):
    handler.send_response(200)
    handler.send_header("content-length", "100000")
    handler.end_headers()
    idp.drip(handler)


def _drip_chunks(idp, handler):
    handler.send_response(200)
    handler.send_header("transfer-encoding", "chunked")
    handler.end_headers()
    idp.drip(handler, b"1\r\n \r\n")


def _drip_chunk_size(idp, handler):
    handler.send_response(200)
    handler.send_header("transfer-encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"1;")
    idp.drip(handler, b"x")


def _drip_status_line(idp, handler):
    idp.drip(handler, b"H")


def _drip_headers(idp, handler):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nx: ")
    idp.drip(handler, b"y")


def _drip_interim_answers(idp, handler):
    idp.drip(handler, b"HTTP/1.1 100 Continue\r\n\r\n")


def _say_nothing(idp, handler):
    handler.connection.settimeout(5)
    if handler.connection.recv(1) == b"":
        idp.hung_up.set()


@pytest.mark.parametrize(
    "behaviour",
    [
        _drip_body,
        _drip_chunks,
        _drip_chunk_size,
        _drip_status_line,
        _drip_headers,
        _drip_interim_answers,
        _say_nothing,
    ],
)
async def test_however_a_server_dawdles_it_meets_the_deadline(idp, monkeypatch, behaviour):
    monkeypatch.setattr(provider, "TOTAL_TIMEOUT", 0.2)
    idp.pages["/jwks"] = lambda handler: behaviour(idp, handler)
    assert (await _failure(idp)).endswith("timed out")
    # The connection ends too, and with it the worker thread's wait.
    assert await asyncio.to_thread(idp.hung_up.wait, 30)


@pytest.mark.parametrize("drip", [b"", b"\x16"])
async def test_a_tls_handshake_meets_the_deadline(monkeypatch, drip):
    monkeypatch.setattr(provider, "TOTAL_TIMEOUT", 0.2)
    hung_up = threading.Event()

    def serve(listener):
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(0.01)
            try:
                while not drip or connection.send(drip):
                    try:
                        if connection.recv(65_536) == b"":
                            break
                    except TimeoutError:
                        continue
            except OSError:
                pass
            hung_up.set()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        with pytest.raises(KeyDocumentError):
            await DOCUMENTS.get(f"https://127.0.0.1:{listener.getsockname()[1]}/", allow_http=False)
        assert await asyncio.to_thread(hung_up.wait, 30)
        thread.join()


async def test_a_cancelled_fetch_ends_its_connection(idp):
    idp.pages["/jwks"] = lambda handler: _say_nothing(idp, handler)
    fetch = asyncio.create_task(_get(idp))
    assert await asyncio.to_thread(idp.asked.wait, 2)
    fetch.cancel()
    assert await asyncio.to_thread(idp.hung_up.wait, 30)


async def test_an_unreachable_server_is_a_failure_like_any_other():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(KeyDocumentError, match="ConnectionRefusedError"):
        await DOCUMENTS.get(f"http://127.0.0.1:{port}/jwks", allow_http=True)


@pytest.mark.parametrize(
    ("url", "error", "words"),
    [
        ("https://idp.example.com/keys", socket.gaierror(-2, "x"), "cannot resolve idp.example.com; check the name and this machine's DNS (gaierror)"),
        ("https://idp.example.com/keys", ConnectionRefusedError(), "nothing accepts connections at idp.example.com (ConnectionRefusedError)"),
        ("https://idp.example.com/keys", ssl.SSLError(1, "x"), "no TLS at idp.example.com; is it an http:// address? (SSLError)"),
        ("http://127.0.0.1:1/keys", http.client.BadStatusLine("x"), "no HTTP at 127.0.0.1:1; is it an https:// address? (BadStatusLine)"),
        ("https://idp.example.com/keys", http.client.BadStatusLine("x"), "BadStatusLine"),
        ("https://idp.example.com/keys", OSError(5, "secret"), "OSError"),
    ],
)  # fmt: skip
async def test_an_error_is_shown_in_words_and_by_its_type(monkeypatch, url, error, words):
    def fail(*_):
        raise error

    monkeypatch.setattr("socket.create_connection", fail)
    with pytest.raises(KeyDocumentError) as failed:
        await DOCUMENTS.get(url, allow_http=True)
    assert str(failed.value) == f"{url}: {words}"


async def test_a_certificate_that_is_not_accepted_says_why(monkeypatch):
    error = ssl.SSLCertVerificationError(1, "x")
    error.verify_message = "certificate has expired"
    monkeypatch.setattr("socket.create_connection", lambda *_: (_ for _ in ()).throw(error))
    with pytest.raises(KeyDocumentError, match="not accepted: certificate has expired"):
        await DOCUMENTS.get("https://idp.example.com/keys", allow_http=False)


async def test_a_web_page_in_place_of_keys_is_called_one(idp):
    idp.pages["/jwks"] = _page(
        b"\n<!DOCTYPE html><html></html>", **{"content-type": "text/html; charset=utf-8"}
    )
    assert "/jwks: a web page (HTML) in place of keys" in await _failure(idp)


# Addresses.


@pytest.mark.parametrize("scheme", ["http", "HTTP"])
async def test_clear_text_is_refused_unless_allowed(idp, scheme):
    idp.pages["/jwks"] = _page()
    url = idp.url.replace("http", scheme) + "/jwks"
    with pytest.raises(KeyDocumentError, match="HTTPS is required"):
        await DOCUMENTS.get(url, allow_http=False)
    assert idp.requests == []
    assert await DOCUMENTS.get(url, allow_http=True)


@pytest.mark.parametrize(
    "url",
    ["", "jwks", "/jwks", "//idp.example/jwks", "https:", "https:///jwks", "https://[::1/jwks",
     "https://idp.example:port/", "https://idp.example:99999/", "https://user:s3cret@127.0.0.1/",
     "file:///etc/passwd", "ftp://127.0.0.1/jwks", "data:application/json,{}", "unix:/tmp/socket"],
)  # fmt: skip
@pytest.mark.parametrize("allow_http", [True, False])
async def test_other_addresses_are_refused(url, allow_http):
    with pytest.raises(KeyDocumentError) as caught:
        await DOCUMENTS.get(url, allow_http=allow_http)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("path", ["/a b", "/é", "/\x7f"])
async def test_an_address_that_http_cannot_carry_is_refused(idp, path):
    assert await _failure(idp, path)
    assert idp.requests == []


# TLS.


@pytest.fixture
def tls_idp(tmp_path):
    key = ec_key(name="tls")
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "server.pem"
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    authority = tmp_path / "authority.pem"
    authority.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    with Provider() as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.pages["/jwks"] = _page()
        with served(server):
            yield server, str(authority)


async def test_a_document_is_fetched_over_tls(tls_idp):
    server, authority = tls_idp
    url = f"https://127.0.0.1:{server.server_port}/jwks"
    assert (await HttpDocuments(ca_file=authority).get(url, allow_http=False)).body == DOCUMENT


async def test_an_untrusted_certificate_or_one_for_another_host_is_refused(tls_idp):
    server, authority = tls_idp
    for documents, host in ((DOCUMENTS, "127.0.0.1"), (HttpDocuments(ca_file=authority), "localhost")):
        with pytest.raises(KeyDocumentError, match="SSLCertVerificationError"):
            await documents.get(f"https://{host}:{server.server_port}/jwks", allow_http=False)
    assert server.requests == []


# Cache-Control.


@pytest.mark.parametrize(
    ("value", "max_age"),
    [
        ("max-age=300", 300),
        ("Max-Age=300", 300),
        ("public, max-age=300, must-revalidate", 300),
        ("public,max-age=300", 300),
        ('max-age="300"', 300),
        ("max-age=0", 0),
        ("s-maxage=900", None),
        ("s-maxage=900, max-age=300", 300),
        ("max-age=300, s-maxage=900", 300),
        ("x-max-age=900", None),
        ("no-store", 0),
        ("no-cache", 0),
        ("no-store, max-age=900", 0),
        ("max-age=900, NO-CACHE", 0),
        ("max-age=900, max-age=300", 300),
        (["max-age=900", "max-age=300"], 300),
        ('private="max-age=900"', None),
        ('private="a, max-age=900", max-age=300', 300),
        ("max-age", None),
        ("max-age=", None),
        ("max-age=-1", None),
        ("max-age=1.5", None),
        ("max-age=3x", None),
        ("max-age=\u0663", None),
        ("max-age=" + "9" * 4000, None),
        ('max-age="300', None),
        ("immutable", None),
        ("", None),
        ("=,;\"' max-age", None),
    ],
)
async def test_freshness_is_taken_from_cache_control(idp, value, max_age):
    def write(handler):
        handler.send_response(200)
        handler.send_header("content-length", str(len(DOCUMENT)))
        for line in value if isinstance(value, list) else [value]:
            handler._headers_buffer.append(b"cache-control: " + line.encode() + b"\r\n")
        handler.end_headers()
        handler.wfile.write(DOCUMENT)

    idp.pages["/jwks"] = write
    assert (await _get(idp)).max_age == max_age


# Discovery.


def _metadata(idp, **changes):
    members = {"issuer": idp.url, "jwks_uri": f"{idp.url}/jwks", **changes}
    return _page(json.dumps(members).encode())


def _discovery(idp, *, issuer=None, allow_http=True):
    return Discovery(issuer=issuer or idp.url, documents=DOCUMENTS, allow_http=allow_http)


async def test_discovery_leads_to_the_key_set(idp):
    idp.pages[WELL_KNOWN] = _metadata(idp)
    idp.pages["/jwks"] = _page(cache_control="max-age=77")
    document = await _discovery(idp).fetch()
    assert (document.body, document.max_age) == (DOCUMENT, 77)
    assert [path for path, _ in idp.requests] == [WELL_KNOWN, "/jwks"]


@pytest.mark.parametrize("suffix", ["/realms/a", "/realms/a/", "/"])
async def test_the_well_known_path_follows_the_issuers(idp, suffix):
    issuer = idp.url + suffix
    idp.pages[suffix.rstrip("/") + WELL_KNOWN] = _metadata(idp, issuer=issuer)
    idp.pages["/jwks"] = _page()
    assert (await _discovery(idp, issuer=issuer).fetch()).body == DOCUMENT


@pytest.mark.parametrize(
    "issuer", [None, "", "https://evil.example", "{url}/", "{url} ", 1, ["{url}"], {"{url}": 1}, True]
)
async def test_metadata_of_another_issuer_is_refused_before_its_keys_are_fetched(idp, issuer):
    told = json.loads(json.dumps(issuer).replace("{url}", idp.url))
    idp.pages[WELL_KNOWN] = _metadata(idp, issuer=told)
    idp.pages["/jwks"] = _page()
    with pytest.raises(KeyDocumentError, match="its issuer is another one"):
        await _discovery(idp).fetch()
    assert [path for path, _ in idp.requests] == [WELL_KNOWN]


@pytest.mark.parametrize("jwks_uri", [None, "", 1, [], ["https://idp.example/jwks"], {}])
async def test_metadata_names_the_address_of_the_keys(idp, jwks_uri):
    idp.pages[WELL_KNOWN] = _metadata(idp, jwks_uri=jwks_uri)
    with pytest.raises(KeyDocumentError):
        await _discovery(idp).fetch()
    assert len(idp.requests) == 1


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"issuer": "a", "issuer": "b"}', b"\xff", b"[" * 9999, b'{"a": 1e999}']
)
async def test_metadata_is_one_unambiguous_object(idp, body):
    idp.pages[WELL_KNOWN] = _page(body)
    with pytest.raises(KeyDocumentError):
        await _discovery(idp).fetch()


async def test_metadata_may_not_lead_from_https_to_clear_text(tls_idp, idp):
    server, authority = tls_idp
    issuer = f"https://127.0.0.1:{server.server_port}"
    members = {"issuer": issuer, "jwks_uri": f"{idp.url}/jwks"}
    server.pages[WELL_KNOWN] = _page(json.dumps(members).encode())
    idp.pages["/jwks"] = _page()
    source = Discovery(issuer=issuer, documents=HttpDocuments(ca_file=authority), allow_http=False)
    with pytest.raises(KeyDocumentError, match="HTTPS is required"):
        await source.fetch()
    assert idp.requests == []


async def test_discovery_in_clear_text_is_refused_unless_allowed(idp):
    idp.pages[WELL_KNOWN] = _metadata(idp)
    with pytest.raises(KeyDocumentError, match="HTTPS is required"):
        await _discovery(idp, allow_http=False).fetch()
    assert idp.requests == []


async def test_metadata_cannot_lead_to_a_file(idp, tmp_path):
    target = tmp_path / "jwks.json"
    target.write_bytes(DOCUMENT)
    idp.pages[WELL_KNOWN] = _metadata(idp, jwks_uri=target.as_uri())
    with pytest.raises(KeyDocumentError):
        await _discovery(idp).fetch()


# The other sources, and all of it together.


async def test_a_fixed_address_needs_no_discovery(idp):
    idp.pages["/jwks"] = _page()
    source = JwksUri(uri=f"{idp.url}/jwks", documents=DOCUMENTS, allow_http=True)
    assert (await source.fetch()).body == DOCUMENT
    assert len(idp.requests) == 1
    with pytest.raises(KeyDocumentError, match="HTTPS is required"):
        await JwksUri(uri=f"{idp.url}/jwks", documents=DOCUMENTS, allow_http=False).fetch()


async def test_a_file_is_read_again_each_time(tmp_path):
    path = tmp_path / "jwks.json"
    with pytest.raises(KeyDocumentError, match="No such file"):
        await JwksFile(path).fetch()
    for body in (DOCUMENT, b"another"):
        path.write_bytes(body)
        assert (await JwksFile(path).fetch()).body == body


async def test_a_key_store_survives_its_provider(idp):
    idp.pages[WELL_KNOWN] = _metadata(idp)
    idp.pages["/jwks"] = _page()
    store = key_store(_discovery(idp), issuer=idp.url, wait=5)
    assert (await store.find("ec-1", "ES256")).kid == "ec-1"
    idp.pages["/jwks"] = _page(b"oops", status=500)
    await store.refresh()
    assert store.failure == f"{idp.url}/jwks: HTTP status 500"
    assert (await store.find("ec-1", "ES256")).kid == "ec-1"


def test_a_call_that_was_given_up_before_it_was_connected_ends_then(idp):
    call = _Call(urlsplit(f"{idp.url}/jwks"), ssl.create_default_context)
    call.abort()
    with pytest.raises(KeyDocumentError, match="aborted"):
        call.run()
    assert not idp.requests


async def test_a_file_of_keys_is_bounded_as_an_answer_is(tmp_path):
    (tmp_path / "jwks.json").write_bytes(b" " * (MAX_DOCUMENT_BYTES + 1))
    with pytest.raises(KeyDocumentError, match="larger than"):
        await JwksFile(tmp_path / "jwks.json").fetch()
