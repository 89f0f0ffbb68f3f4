"""An issuer's keys over time, with a real HTTP server: rotation, withdrawal, failures, floods of unknown kids."""

import asyncio
import contextlib
import statistics
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from extproc.authn.keys import KeyStore, RefreshPolicy
from extproc.authn.provider import HttpDocuments, JwksUri
from extproc.errors import Denied, Reason
from support.tokens import (
    AUDIENCE,
    ISSUER,
    FakeClock,
    header,
    key_set,
    make_verifier,
    mint,
    public_jwk,
    rsa_key,
    segment,
    trusted_issuer,
)

DOCUMENTS = HttpDocuments()


class Idp:
    """A provider that serves ``keys``, fails or hangs."""

    def __init__(self):
        self.keys = []
        self.mode = "healthy"
        self.fetches = 0
        self.let_go = threading.Event()
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                provider.fetches += 1
                if provider.mode == "hanging":
                    provider.let_go.wait(20)
                    return
                body = key_set(*provider.keys) if provider.keys else b'{"keys": []}'
                self.send_response(500 if provider.mode == "failing" else 200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # a client that gives up is what is tested
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        self.uri = f"http://127.0.0.1:{self.server.server_port}/jwks"

    def publish(self, **keys):
        self.keys = [public_jwk(rsa_key(name), kid=kid) for kid, name in keys.items()]

    def stop(self):
        self.let_go.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def idp():
    provider = Idp()
    yield provider
    provider.stop()


def _at_work(idp, **policy):
    clock = FakeClock()
    source = JwksUri(uri=idp.uri, documents=DOCUMENTS, allow_http=True)
    store = KeyStore(issuer=ISSUER, source=source, clock=clock, refresh=RefreshPolicy(**policy))
    return store, clock, make_verifier(trusted_issuer(keys=store), clock=clock)


def _token(kid="a", name="first"):
    return mint(None, header(kid=kid), key=rsa_key(name))


async def _reason(verifier, token):
    with pytest.raises(Denied) as caught:
        await verifier.verify(token)
    return caught.value.reason


async def test_a_rotated_key_is_found_on_first_use_and_the_old_one_works_until_it_is_withdrawn(idp):
    idp.publish(a="first")
    store, clock, verifier = _at_work(idp)
    old = await verifier.verify(_token())
    idp.publish(a="first", b="second")
    clock.advance(30)
    assert await verifier.verify(_token("b", "second"))
    assert await verifier.verify(_token())
    assert idp.fetches == 2

    idp.publish(b="second")
    await store.refresh()
    assert await _reason(verifier, _token()) is Reason.KEY_UNKNOWN
    assert not verifier.still_trusted(old, None)  # what ends the cached session


async def test_a_kid_used_again_for_another_key_means_the_new_key_only(idp):
    idp.publish(a="first")
    store, _, verifier = _at_work(idp)
    old = await verifier.verify(_token())
    idp.publish(a="second")
    await store.refresh()
    assert await _reason(verifier, _token()) is Reason.SIGNATURE_INVALID
    assert await verifier.verify(_token("a", "second"))
    assert not verifier.still_trusted(old, None)


@pytest.mark.parametrize("mode", ["failing", "healthy"], ids=["status 500", "an empty key set"])
async def test_the_last_good_keys_stay_while_the_provider_is_broken_until_they_are_too_stale(idp, mode):
    idp.publish(a="first")
    store, clock, verifier = _at_work(idp, max_staleness=1000)
    await store.refresh()
    idp.mode, idp.keys = mode, []
    clock.advance(999)
    await store.refresh()
    assert store.failure
    usual = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": int(clock.now) + 900}
    token = mint(usual, header(kid="a"), key=rsa_key("first"))
    assert await verifier.verify(token)
    clock.advance(2)
    assert await _reason(verifier, token) is Reason.KEYS_UNAVAILABLE
    assert Reason.KEYS_UNAVAILABLE.outcome.status == 503


async def test_a_provider_that_is_down_at_start_is_asked_again_within_seconds(idp):
    idp.publish(a="first")
    idp.mode = "failing"
    source = JwksUri(uri=idp.uri, documents=DOCUMENTS, allow_http=True)
    store = KeyStore(issuer=ISSUER, source=source, clock=time.time, refresh=RefreshPolicy(first_retry=0.1))
    refreshing = asyncio.create_task(store.keep_fresh())
    try:
        await asyncio.sleep(0.25)
        assert store.current() is None
        idp.mode = "healthy"
        async with asyncio.timeout(3):
            while store.current() is None:  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.01)
        assert 3 <= idp.fetches <= 5
    finally:
        refreshing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await refreshing


@pytest.mark.parametrize("mode", ["healthy", "failing", "hanging"])
async def test_5000_unknown_kids_in_ten_seconds_cause_one_fetch_and_delay_no_known_key(idp, mode):
    """Ten seconds by the injected clock; the known key's requests are timed by the real one."""
    idp.publish(a="first")
    store, clock, verifier = _at_work(idp, wait=0.5)
    await store.refresh()
    clock.advance(31)  # the cooldown of the first fetch is over
    idp.mode, before = mode, idp.fetches
    known = _token()
    signed = mint(None, header(), key=rsa_key()).partition(".")[2]  # no signature is verified without its key
    quiet = [await _timed(verifier, known) for _ in range(50)]
    busy, flood = [], []
    for second in range(10):
        unknown = [f"{segment(header(kid=f'{second}-{n}'))}.{signed}" for n in range(500)]
        flood += [asyncio.create_task(_reason(verifier, token)) for token in unknown]
        await asyncio.sleep(0)  # the flood arrives first
        await asyncio.sleep(0)
        busy += [await _timed(verifier, known) for _ in range(20)]
        clock.advance(1)
    reasons = await asyncio.gather(*flood)
    assert set(reasons) == {Reason.KEY_UNKNOWN}
    print(  # noqa: T201 - the figures, for -s
        f"\n{mode}: {idp.fetches - before} fetch for {len(reasons)} unknown kids; known key, median: "
        f"{statistics.median(quiet) * 1e6:.0f} us before, {statistics.median(busy) * 1e6:.0f} us meanwhile, "
        f"longest {max(busy) * 1e3:.1f} ms"
    )
    assert idp.fetches - before == 1
    # Never the network's time: the provider hangs for 20 s, and a waiting request waits 0.5 s.
    assert max(busy) < 0.4


async def _timed(verifier, token):
    started = time.perf_counter()
    await verifier.verify(token)
    return time.perf_counter() - started
