"""What an operator who has lost trust, and somebody with much time, cannot do with the console."""

import asyncio
import time

import pytest

from extproc.admin.client import CallError
from extproc.console import deny_list
from extproc.console.access import CERTIFICATE, SOCKET, User
from extproc.console.deny_list import names
from extproc.console.history import Filter
from extproc.console.server_api import ServerApi
from extproc.sessions.revocation import Selector
from extproc.values import Identity
from support.console import HOST, ISSUER, Site

FRAGMENT = {"x-console-fragment": "1"}


async def until(condition):
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it has not happened")


async def test_an_operator_whom_the_gateway_refuses_takes_nothing_back_and_is_logged_out(tmp_path):
    site = Site(tmp_path)
    site.log_in("operators", "admins", name="mallory")
    mallory = dict(site.cookies)
    lines = len(site.audited()) if site.audit_log.exists() else 0
    site.log_in("operators", "admins", name="olga")
    assert (await site.post("/revoke", {"subject": "mallory", "seconds": "3600"})).status == 200
    site.cookies = mallory
    answer = await site.post("/lift", {"subject": "mallory"})
    assert (answer.status, len(site.parts.deny_list)) == (403, 1)
    assert (await site.get("/sessions")).status == 303
    assert [each["act"] for each in site.audited()[lines:]] == ["revoke", "revoke"]


async def test_sessions_of_refused_operators_end_without_a_click_and_others_stay(tmp_path):
    site = Site(tmp_path)
    refused = site.log_in("operators", name="mallory")
    kept = site.log_in("operators", name="olga")
    site.service._state.revocation.revoke(Selector(subject="mallory"), deny_until=site.now + 600)
    assert await site.web.deny_list.refuses(refused)
    assert not await site.web.deny_list.refuses(kept)
    assert len(site.web._sessions) == 1
    site.client.failure = CallError("UNAVAILABLE: not there", refused=False)
    assert await site.web.deny_list.refuses(refused), "the last known ones hold"


async def test_the_deny_list_is_looked_at_again_after_an_answer_that_cannot_be_read(tmp_path, monkeypatch):
    site = Site(tmp_path)
    user = site.log_in("operators", name="mallory")
    site.service._state.revocation.revoke(Selector(subject="mallory"), deny_until=site.now + 600)
    monkeypatch.setattr(deny_list, "_EVERY", 0.01)
    site.client.failure = RuntimeError("a bug")
    follow = asyncio.create_task(site.web.deny_list.follow())
    await until(lambda: site.client.calls)
    site.client.failure = None
    await until(lambda: len(site.web._sessions) == 0)
    follow.cancel()
    assert site.web._sessions.find(next(iter(site.cookies.values()))) is None, user


@pytest.mark.parametrize(
    ("revocation", "source", "refused"),
    [
        ({"subject": "a"}, ISSUER, True),
        ({"subject": "a", "issuer": ISSUER}, ISSUER, True),
        ({"issuer": ISSUER}, ISSUER, True),
        ({"subject": "b"}, ISSUER, False),
        ({"subject": "a", "issuer": "https://other.example"}, ISSUER, False),
        ({"subject": "a", "jti": "t"}, ISSUER, False),
        ({"subject": "a"}, CERTIFICATE, False),
        ({"subject": "a"}, SOCKET, False),
    ],
)
def test_a_revocation_names_users_of_issuers(revocation, source, refused):
    assert names(revocation, User(source, "a", "a")) is refused


@pytest.mark.parametrize(
    "path", ["/log%0Aout", "/revoke%3Fsubject=a", "/%09sessions", "/sessions%23", "/lift%0d"]
)
async def test_a_path_that_only_resembles_a_page_is_none(tmp_path, path):
    site = Site(tmp_path)
    site.log_in("operators", "admins")
    assert (await site.get(path)).status == 404


@pytest.mark.parametrize("headers", [{"x-http-method-override": "POST"}, {"x-method-override": "POST"}])
async def test_a_get_never_acts(tmp_path, headers):
    site = Site(tmp_path)
    user = site.log_in("operators", "admins")
    token = site.web._sessions.find(next(iter(site.cookies.values()))).csrf_token
    query = f"subject=alice&seconds=3600&_method=POST&csrf_token={token}"
    for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
        for path in ("/revoke", "/lift", "/logout"):
            answer = await site.send(method, f"{path}?{query}", headers=headers)
            assert answer.status in (200, 403, 405), (method, path)
    assert len(site.parts.deny_list) == 0
    assert site.web._sessions.find(next(iter(site.cookies.values()))).user == user


@pytest.mark.parametrize(
    "headers",
    [
        {"x-forwarded-host": "evil.example", "x-forwarded-proto": "https", "forwarded": "host=evil.example"},
        {"x-original-url": "/revoke?subject=a", "x-rewrite-url": "/revoke?subject=a"},
    ],
)
async def test_headers_of_proxies_change_nothing(tmp_path, headers):
    site = Site(tmp_path)
    answer = await site.get("/", headers={"sec-fetch-mode": "navigate", **headers})
    assert (answer.status, answer.header("location")) == (303, "/login?then=%2F")
    site.log_in("operators")
    text = (await site.get("/", headers=headers)).text
    assert "<h1>Overview</h1>" in text
    assert "evil.example" not in text


async def test_a_number_to_base_60_and_deep_nesting_cost_no_minutes(tmp_path):
    site = Site(tmp_path)
    site.log_in("operators")
    began = time.process_time()
    for text, said in (
        ("1:" + "59:" * 100_000 + "1", "must be in quotes"),
        ("[" * 20_000, "not valid"),
        ("- " * 20_000, "not valid"),
    ):
        assert said in (await site.post("/envoy", {"configuration": text}, headers=FRAGMENT)).text
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"pasted": '{"sub": "a",\n "x": "canary}'}, "claims: not valid JSON at line 2, column 7"),
        ({"pasted": '{"x": "' + "a" * 70_000 + '"}'}, "claims: at most 65,536 characters"),
        (
            {"pasted": "{}", "mcp_method": "tools/call", "arguments": "[" * 70_000},
            "arguments: at most 65,536 characters",
        ),
        ({"pasted": '{"a":' * 9000 + "1" + "}" * 9000}, "claims: "),
        ({"pasted": '{"sub": "\\ud800"}'}, "claims: "),
    ],
)
async def test_what_is_pasted_is_bounded_and_an_error_says_where_and_quotes_nothing(tmp_path, fields, said):
    site = Site(tmp_path)
    site.log_in("operators")
    answer = await site.post("/try", fields, headers=FRAGMENT)
    assert answer.status == 200
    assert said in answer.text
    assert "canary" not in answer.text
    assert [method for method, _ in site.client.calls if method == "Explain"] == []


async def test_what_an_operator_wrote_is_shown_without_direction_marks(tmp_path):
    site = Site(tmp_path)
    site.log_in("operators", "admins")
    await site.post("/revoke", {"subject": "a\u202egnp", "jti": "b\u202e", "seconds": "0"})
    assert "\u202e" not in (await site.get("/sessions")).text


async def test_a_name_beyond_ascii_is_found_as_it_is_written(tmp_path):
    site = Site(tmp_path)
    site.decide(subject="Ärger-ABC")
    for user in ("Ärger", "ger-abc"):
        assert len(site.web.parts.history.page(Filter(user=user))) == 1


class Slow:
    """An admin API whose calls take a moment."""

    def __init__(self):
        self.at_a_time = self.most = self.calls = 0

    def call(self, _method, _fields):
        self.calls += 1
        self.at_a_time += 1
        self.most = max(self.most, self.at_a_time)
        time.sleep(0.02)
        self.at_a_time -= 1
        return {}


async def test_pages_that_cost_the_server_come_one_at_a_time_and_seldom_and_acts_wait_for_none():
    slow = Slow()
    api = ServerApi(slow)
    began = time.monotonic()
    pages = [asyncio.create_task(api.call("ListSessions")) for _ in range(5)]
    await pages[0]
    await api.call("Revoke")
    assert not pages[2].done(), "the act has overtaken the pages"
    await asyncio.gather(*pages)
    assert slow.most <= 2
    assert time.monotonic() - began >= 5 * 0.02 + 4 * 3 * 0.02
    flood = [asyncio.create_task(api.call("Explain")) for _ in range(40)]
    await asyncio.sleep(0)
    refused = [each for each in flood if each.done() and isinstance(each.exception(), CallError)]
    assert len(refused) == 8
    for task in flood:
        task.cancel()
    await asyncio.gather(*flood, return_exceptions=True)
    api.close()


async def test_a_form_whose_fields_are_there_twice_is_refused(tmp_path):
    site = Site(tmp_path)
    site.log_in("operators", "admins")
    token = site.web._sessions.find(next(iter(site.cookies.values()))).csrf_token
    headers = {
        "content-type": "application/x-www-form-urlencoded",
        "origin": f"http://{HOST}",
        "sec-fetch-site": "same-origin",
    }
    body = f"subject=a&subject=b&seconds=0&csrf_token={token}".encode()
    assert (await site.send("POST", "/revoke", headers=headers, body=body)).status == 400


async def test_a_login_of_a_refused_user_begins_no_session_and_is_in_the_audit_log(tmp_path, monkeypatch):
    site = Site(tmp_path)
    site.service._state.revocation.revoke(Selector(subject="mallory"), deny_until=site.now + 600)
    login = site.web._login
    claims = {"sub": "mallory", "groups": ["operators"]}

    async def finish(_attempt, _answer):
        return Identity(ISSUER, "mallory", site.now + 60, claims, b"k")

    monkeypatch.setattr(login._oidc, "finish", finish)
    attempt = {"state": "s", "nonce": "n", "verifier": "v", "then": "/"}
    cookies = {login._cookie: login._signer.sign(attempt)}
    answer = await site.get("/login/callback?code=c&state=s", cookies=cookies)
    assert (answer.status, len(site.web._sessions)) == (403, 0)
    assert (site.audited()[-1]["act"], site.audited()[-1]["outcome"]) == ("login", "refused")
