"""Who gets which page of the console, and what no request of another site can do."""

import pytest

from extproc.sessions.session import token_digest
from extproc.values import Grant, Identity
from support.admin import ROLE
from support.console import HOST, ISSUER, SOCKET, Site
from support.pipelines import NOW

PAGES = ("/", "/decisions", "/sessions", "/try", "/policy", "/envoy", "/docs", "/docs/denials")
STREAMS = ("/events/overview", "/events/decisions", "/events/sessions")
XSS = '"><img src=x onerror=alert(1)>'


async def alice(parts, **claims):
    identity = Identity(ISSUER, "alice", NOW + 600, {"sub": "alice", **claims}, b"k")
    token = "canary-token-alice"
    session = parts.sessions.open(token_digest(token), identity, token)
    await parts.credentials.obtain(session, session.granted(Grant(ROLE, "alice", 900, "m")))
    return session


@pytest.mark.parametrize("path", PAGES)
async def test_each_page_is_there_for_who_may_look(tmp_path, path):
    site = Site(tmp_path)
    await alice(site.parts)
    site.log_in("operators")
    answer = await site.get(path)
    assert answer.status == 200, answer.text
    assert "<main" in answer.text
    assert "canary" not in answer.text


@pytest.mark.parametrize("path", [*PAGES, *STREAMS, "/revoke?subject=a"])
async def test_nobody_sees_a_page_without_a_session(tmp_path, path):
    site = Site(tmp_path)
    answer = await site.get(path, headers={"sec-fetch-mode": "navigate"})
    assert (answer.status, answer.header("location").partition("?")[0]) == (303, "/login")
    assert (await site.get(path, headers={"sec-fetch-mode": "cors"})).status == 401
    assert (await site.get(path, cookies={site.web._cookie: "made-up"})).status == 303


@pytest.mark.parametrize("path", STREAMS)
async def test_changes_come_as_server_sent_events(tmp_path, path):
    site = Site(tmp_path)
    site.log_in("operators")
    site.decide()
    answer = await site.get(path)
    assert answer.header("content-type").startswith("text/event-stream")
    assert b"data: {" in answer.body


async def test_who_may_only_look_cannot_act(tmp_path):
    site = Site(tmp_path)
    await alice(site.parts)
    site.log_in("operators")
    assert (await site.get("/revoke?subject=alice")).status == 403
    assert (await site.post("/revoke", {"subject": "alice", "seconds": "3600"})).status == 403
    assert (await site.post("/lift", {"subject": "alice"})).status == 403
    assert "End …" not in (await site.get("/sessions")).text
    assert len(site.parts.sessions) == 1
    assert site.audited() == []


async def test_ending_sessions_needs_a_confirmation_and_is_in_the_audit_log_with_who_did_it(tmp_path):
    site = Site(tmp_path)
    await alice(site.parts)
    site.log_in("operators", "admins")
    question = await site.get("/revoke?subject=alice")
    assert "<b>1</b> session meets this" in question.text
    assert len(site.parts.sessions) == 1
    done = await site.post("/revoke", {"subject": "alice", "seconds": "3600"})
    assert "Dropped: 1 session and 1 credential." in done.text
    assert "aws:TokenIssueTime" in done.text
    assert (len(site.parts.sessions), len(site.parts.deny_list)) == (0, 1)
    begun, ended = site.audited()
    assert [(each["act"], each["outcome"]) for each in (begun, ended)] == [
        ("revoke", "begun"),
        ("revoke", "done"),
    ]
    assert (ended["actor"], ended["actor_issuer"], ended["subject"]) == ("olga", ISSUER, "alice")
    back = await site.post("/lift", {"subject": "alice"})
    assert (back.status, back.header("location")) == (303, "/sessions#revocations")
    assert len(site.parts.deny_list) == 0
    assert [each["act"] for each in site.audited()[2:]] == ["lift", "lift"]


async def test_an_act_that_cannot_be_logged_is_not_done(tmp_path):
    site = Site(tmp_path)
    await alice(site.parts)
    site.log_in("operators", "admins")

    def full(_lines):
        raise OSError(28, "No space left on device")

    site.web.parts.acts._sink.write = full
    answer = await site.post("/revoke", {"subject": "alice", "seconds": "0"})
    assert (answer.status, len(site.parts.sessions)) == (503, 1)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": f"https://{HOST}"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {"content-type": "text/plain"},
        {"content-type": "multipart/form-data; boundary=x"},
        {"content-type": "application/json"},
    ],
)
async def test_no_form_of_another_site_is_taken(tmp_path, headers):
    site = Site(tmp_path)
    await alice(site.parts)
    site.log_in("operators", "admins")
    answer = await site.post("/revoke", {"subject": "alice", "seconds": "0"}, headers=headers)
    assert answer.status in (403, 415)
    assert len(site.parts.sessions) == 1


@pytest.mark.parametrize("token", ["", "made-up", "é" * 20])
async def test_no_form_without_the_sessions_token_is_taken(tmp_path, token):
    site = Site(tmp_path)
    await alice(site.parts)
    site.log_in("operators", "admins")
    answer = await site.post("/revoke", {"subject": "alice", "seconds": "0"}, csrf_token=token)
    assert (answer.status, len(site.parts.sessions)) == (403, 1)


async def test_a_form_of_another_session_is_not_taken(tmp_path):
    site = Site(tmp_path)
    site.log_in("operators", "admins", name="eve")
    eves = (await site.get("/revoke?subject=alice")).csrf_token
    await alice(site.parts)
    site.log_in("operators", "admins")
    answer = await site.post("/revoke", {"subject": "alice", "seconds": "0"}, csrf_token=eves)
    assert (answer.status, len(site.parts.sessions)) == (403, 1)


@pytest.mark.parametrize(
    "host",
    [
        None,
        "evil.example",
        "evil.example:9466",
        "localhost:9466",
        "127.0.0.1",
        "127.0.0.1:9466.",
        "[::1]:9466",
    ],
)
async def test_a_name_that_was_rebound_to_this_address_gets_nothing(tmp_path, host):
    site = Site(tmp_path)
    site.log_in("operators")
    answer = await site.get("/", host=host)
    assert answer.status == 421
    assert "Overview" not in answer.text


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "127.0.0.1:5000", "[::1]:5000"])
async def test_a_unix_socket_that_is_forwarded_is_known_under_every_loopback_port(tmp_path, host):
    site = Site(tmp_path, settings=SOCKET)
    assert (await site.get("/", host=host)).status == 200
    for other in ("evil.example", "localhost@evil.example", "localhost:80:80", "evil.example#localhost"):
        assert (await site.get("/", host=other)).status == 421


async def test_the_owner_of_a_unix_socket_looks_and_acts_under_the_configured_name(tmp_path):
    site = Site(tmp_path, settings=SOCKET)
    assert "operator" in (await site.get("/", host="localhost")).text
    answer = await site.post(
        "/revoke", {"subject": "x", "seconds": "0"}, headers={"origin": "http://localhost"}, host="localhost"
    )
    assert answer.status == 200
    assert site.audited()[0]["actor"] == "operator"


@pytest.mark.parametrize("path", [*STREAMS, "/", "/sessions"])
@pytest.mark.parametrize("mode", ["cors", "no-cors", "navigate"])
async def test_no_page_of_another_site_loads_or_frames_the_console(tmp_path, path, mode):
    site = Site(tmp_path)
    site.log_in("operators")
    destination = {"navigate": "iframe", "cors": "empty", "no-cors": "script"}[mode]
    for from_ in ("cross-site", "same-site"):
        headers = {"sec-fetch-site": from_, "sec-fetch-mode": mode, "sec-fetch-dest": destination}
        assert (await site.get(path, headers=headers)).status == 403


async def test_every_response_has_the_guarding_headers(tmp_path):
    site = Site(tmp_path)
    answers = [
        await site.get("/"),
        await site.get("/", host="evil.example"),
        await site.get("/assets/live.js"),
    ]
    site.log_in("operators")
    answers += [await site.get("/"), await site.get("/nothing"), await site.get("/events/overview")]
    for answer in answers:
        csp = answer.header("content-security-policy")
        assert "default-src 'none'" in csp
        assert "frame-ancestors 'none'" in csp
        assert "unsafe" not in csp
        assert answer.header("x-frame-options") == "DENY"
        assert answer.header("x-content-type-options") == "nosniff"
        assert answer.header("cache-control") in ("no-store", "no-cache")
        assert answer.header("access-control-allow-origin") is None


async def test_links_from_other_sites_work_although_the_browser_sends_them_no_cookie(tmp_path):
    site = Site(tmp_path)
    from_chat = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    answer = await site.get("/decisions?user=bob&at=1", headers=from_chat)
    assert answer.status == 200
    assert 'content="0;url=/decisions?user=bob&amp;at=1"' in answer.text
    assert 'content="0;url=/"' in (await site.get("//evil.example/", headers=from_chat)).text
    for path in ("/\\evil.example", "/%5Cevil.example"):
        assert 'content="0;url=/%5Cevil.example"' in (await site.get(path, headers=from_chat)).text


@pytest.mark.parametrize(
    "path",
    [
        "/assets/../process.py",
        "/assets/%2e%2e/process.py",
        "/assets/..%2fprocess.py",
        "/assets/",
        "/assets/live.js/",
        "/assets//etc/passwd",
        "/docs/..%2f..%2fetc%2fpasswd",
        "/docs/../README",
        "/docs/nothing",
        "/sessions/0-../..",
        "/decisions/../../x",
        "/.git/config",
    ],
)
async def test_no_path_leads_out_of_the_console(tmp_path, path):
    site = Site(tmp_path)
    site.log_in("operators")
    answer = await site.get(path)
    assert answer.status == 404
    assert "root:" not in answer.text


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"])
async def test_other_methods_are_refused(tmp_path, method):
    site = Site(tmp_path)
    site.log_in("operators", "admins")
    headers = {"origin": f"http://{HOST}", "sec-fetch-site": "same-origin"}
    assert (await site.send(method, "/revoke", headers=headers)).status == 405


@pytest.mark.parametrize(
    "field", ["subject", "mcp_tool", "path", "target", "detail", "jti", "request_id", "mapping"]
)
async def test_what_clients_choose_is_never_markup(tmp_path, field):
    site = Site(tmp_path)
    site.log_in("operators", "auditors")
    which = site.decide(**{field: XSS, "decision": "allow" if field == "mapping" else "deny"})
    for path in ("/decisions", f"/decisions/{which}", "/events/decisions", "/policy"):
        text = (await site.get(path)).text
        assert "<img src=x" not in text, path
        assert '"><img' not in text.replace('href="/"><img src="/assets', ""), path


async def test_what_is_no_unicode_or_changes_the_direction_of_text_breaks_no_page(tmp_path):
    site = Site(tmp_path)
    site.log_in("operators")
    which = site.decide(subject="a\ud800\u202egnp.exe", mcp_tool="\x1b[2J", agent=["\udfff"])
    for path in ("/decisions", f"/decisions/{which}", "/events/decisions"):
        answer = await site.get(path)
        assert answer.status == 200
        assert not {"\u202e", "\x1b"} & set(answer.text)


async def test_claims_of_a_session_are_shown_escaped_and_only_to_those_allowed(tmp_path):
    site = Site(tmp_path)
    await alice(site.parts, note="</pre><script>alert(1)</script>", secret="only-for-auditors")
    site.log_in("operators")
    listed = (await site.get("/sessions")).text
    path = listed.split('href="/sessions/')[1].partition('"')[0]
    assert "only-for-auditors" not in (await site.get(f"/sessions/{path}")).text
    site.log_in("operators", "auditors")
    text = (await site.get(f"/sessions/{path}")).text
    assert "only-for-auditors" in text
    assert "<script>alert" not in text
    assert "canary" not in text


@pytest.mark.parametrize("name", ["x\r\nset-cookie: a=b", "x\nlocation: //evil", "x\x00"])
async def test_no_value_ends_a_header(tmp_path, name):
    site = Site(tmp_path)
    from urllib.parse import quote  # noqa: PLC0415

    answer = await site.get(f"/login?then={quote('/' + name)}")
    site.log_in("operators")
    answers = [answer, await site.get(f"/decisions?user={quote(name)}"), await site.get(f"/{quote(name)}")]
    for each in answers:
        for _, value in each.headers:
            assert "\n" not in value
            assert "\r" not in value


async def test_a_session_ends_by_its_age_by_idleness_and_by_the_button(tmp_path):
    site = Site(tmp_path)
    site.log_in("operators")
    site.now += 3599
    assert (await site.get("/")).status == 200
    site.now += 3599
    assert (await site.get("/")).status == 200
    site.now += 3601
    assert (await site.get("/")).status == 303
    site.log_in("operators")
    for _ in range(8):
        site.now += 3500
        assert (await site.get("/")).status == 200
    site.now += 3500
    assert (await site.get("/")).status == 303
    site.log_in("operators")
    cookies = dict(site.cookies)
    assert (await site.get("/logout")).status == 405
    answer = await site.post("/logout", {})
    assert "logged out" in answer.text
    assert (await site.get("/", cookies=cookies)).status == 303


async def test_what_a_page_asks_for_by_itself_keeps_no_session_alive(tmp_path):
    site = Site(tmp_path)
    site.log_in("operators")
    for _ in range(3):
        site.now += 1300
        if site.now - NOW < 3600:
            assert (await site.get("/events/overview")).status == 200
    assert (await site.get("/")).status == 303


@pytest.mark.parametrize("path", PAGES)
async def test_a_server_that_does_not_answer_is_said_so_and_breaks_no_page(tmp_path, path):
    from extproc.admin.client import CallError  # noqa: PLC0415

    site = Site(tmp_path)
    site.client.failure = CallError("UNAVAILABLE: not there", refused=False)
    site.log_in("operators")
    answer = await site.get(path)
    assert answer.status == 200


async def test_a_token_that_is_pasted_is_explained_and_appears_nowhere(tmp_path, capsys):
    site = Site(tmp_path)
    site.log_in("operators")
    fields = {"pasted": "canary-a.b.c", "mcp_method": "tools/call", "tool": "whoami"}
    for headers in ({}, {"x-console-fragment": "1"}):
        answer = await site.post("/try", fields, headers=headers)
        assert "token_malformed" in answer.text
        assert "canary" not in answer.text
    assert "canary" not in "".join(capsys.readouterr())
    assert site.audited() == []


async def test_claims_that_are_pasted_show_role_rules_and_why_not(tmp_path):
    site = Site(tmp_path)
    site.log_in("operators")
    answer = await site.post("/try", {"pasted": '{"sub": "x", "groups": ["nothing"]}'})
    assert "no_role" in answer.text
    assert (await site.post("/try", {"pasted": "{"})).status == 200
    assert "Paste claims" in (await site.post("/try", {})).text


async def test_the_check_of_envoy_refuses_what_grows(tmp_path):
    site = Site(tmp_path)
    site.log_in("operators")
    bomb = "a: &a [x]\n" + "\n".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]" for n in range(20)
    )
    answer = await site.post("/envoy", {"configuration": bomb}, headers={"x-console-fragment": "1"})
    assert "aliases" in answer.text
