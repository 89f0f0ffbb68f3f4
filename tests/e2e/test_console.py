"""The console in a real browser, over the demo's stack: ``make console-test``."""

import http.server
import json
import os
import re
import threading
import urllib.parse
from typing import ClassVar

import pytest

from extproc.demo.ports import free_ports
from support.chromium import (
    FONTS,
    IMAGES,
    IN_DOCS,
    SAME_FONTS,
    SIZES,
    Browser,
    difference,
    fonts,
    log_in,
    needs_chromium,
    serious,
    smaller,
    steady,
    tokens_in,
    tolerance,
)
from support.stacks import Stack

pytestmark = [pytest.mark.long, needs_chromium]

EVIL = '"><img src=x onerror="window.attacked=1">'
DEVELOPER = "arn:aws:iam::123456789012:role/DemoDeveloper"
PAGES = {
    "overview": "/",
    "decisions": "/decisions",
    "sessions": f"/sessions?role_arn={DEVELOPER}",
    "try": "/try",
    "policy": "/policy",
    "envoy": "/envoy",
    "docs": "/docs/denials",
    "contents": "/docs",
}


class Site:
    """The stack with its traffic, and the console's address."""

    def __init__(self, stack):
        self.stack = stack
        self.url = f"http://{stack.console}"
        self.tokens = []

    def token(self, account, **parameters):
        self.tokens.append(self.stack.token(account, **parameters))
        return self.tokens[-1]

    def call(self, token, tool="whoami", path="/mcp"):
        message = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": tool, "arguments": {}},
        }
        headers = {
            "authorization": f"Bearer {token}",
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": "2026-07-28",
            "mcp-method": "tools/call",
            "mcp-name": tool,
        }
        url = f"http://{self.stack.addresses.envoy}{path}"
        return self.stack.http.request("POST", url, body=json.dumps(message).encode(), headers=headers).status

    def signs(self, token):
        """Return whether a request with the token is signed, and goes upstream."""
        return (
            self.stack.http.request(
                "POST",
                f"http://{self.stack.addresses.envoy}/echo",
                body=b"hello",
                headers={"authorization": f"Bearer {token}"},
            ).status
            == 200
        )

    def audited(self, act):
        lines = (self.stack.directory / "audit.log").read_text().splitlines()
        return [line for line in map(json.loads, lines) if line.get("act") == act]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with Stack(tmp_path_factory.mktemp("console"), console=f"127.0.0.1:{free_ports(1)[0]}") as stack:
        site = Site(stack)
        for account, user in (
            ("demo-admin", "alice"),
            ("demo-developer", "bob"),
            ("demo-developer", "carol"),
            ("demo-guest", "dave"),
            ("demo-admin", EVIL),
        ):
            token = site.token(account, user=user)
            for tool in ("whoami", "list_regions", "aws___call_aws"):
                site.call(token, tool=tool)
        site.call(site.tokens[0][:-8] + "AAAAAAAA")
        site.call("not-a-token")
        site.call(site.token("demo-admin", user="alice", lifetime="-5"))
        site.call(site.tokens[0], tool="<script>window.attacked=1</script>")
        site.call(site.tokens[0], path=f"/{urllib.parse.quote(EVIL)}")
        yield site


@pytest.fixture(scope="module")
def chromium():
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture
def browser(chromium):
    chromium.faults.clear()
    return chromium


@pytest.fixture
def page(browser, site):
    context = browser.context()
    page = context.new_page()
    log_in(page, site.url)
    yield page
    context.close()


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}-{size[1]}")
@pytest.mark.parametrize("name", [*PAGES, "decision", "session", "explained", "revoke"])
def test_each_page_is_clean_for_everybody_at_every_width(browser, site, tmp_path, name, size):
    scheme, width = size
    context = browser.context(scheme, width)
    page = context.new_page()
    log_in(page, site.url)
    visit(page, site, name)
    page.wait_for_timeout(700)
    assert browser.faults == []
    assert page.evaluate("window.attacked") is None
    assert serious(page) == []
    image = IMAGES / f"{name}-{scheme}-{width}.png"
    for_docs = page.screenshot()
    steady(page)
    shot = page.screenshot()
    allowed = tolerance(page) if FONTS.exists() else 0
    for other_width in (width, 1000, 2000) if width > 1000 else (width, 700):
        page.set_viewport_size({"width": other_width, "height": 900})
        assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth"), "it scrolls sideways"
    if os.environ.get("CONSOLE_SHOTS"):
        image.parent.mkdir(parents=True, exist_ok=True)
        image.write_bytes(smaller(shot))
        if (IN_DOCS / image.name).exists():
            (IN_DOCS / image.name).write_bytes(smaller(for_docs))
        FONTS.write_text(json.dumps(fonts(page)) + "\n")
    else:
        (tmp_path / image.name).write_bytes(shot)
        differs = difference(shot, image.read_bytes())
        assert differs <= allowed, f"{differs} cells of {image.name}; CONSOLE_SHOTS=1 writes it anew"
    context.close()


def test_the_comparison_of_screenshots_notices_what_is_missing_and_no_time(page, site):
    page.goto(site.url)
    page.wait_for_timeout(700)
    steady(page)
    before = page.screenshot()
    page.evaluate("document.querySelector('td[data-label=Issuer]').textContent = 'http://127.0.0.1:18181'")
    assert difference(before, page.screenshot()) <= SAME_FONTS
    for part in (".tile", "h1", ".bars li", "nav a", ".me button", ".plot"):
        page.evaluate(f"document.querySelector('{part}').style.visibility = 'hidden'")
        assert difference(before, page.screenshot()) > SAME_FONTS, part
        page.evaluate(f"document.querySelector('{part}').style.visibility = ''")


def visit(page, site, name):
    if name in PAGES:
        page.goto(site.url + PAGES[name])
        if name == "overview":  # what it tells comes within seconds of the start
            page.locator(".bars li").first.wait_for()
            page.locator(".line").first.wait_for(state="attached")
    elif name == "decision":
        page.goto(f"{site.url}/decisions?user=dave")
        page.locator("#decisions a").first.click()
        page.get_by_role("heading", name="The steps").wait_for()
    elif name == "session":
        page.goto(f"{site.url}/sessions?subject=alice")
        page.locator("#sessions td a").first.click()
        page.get_by_role("heading", name="Credentials").wait_for()
    elif name == "revoke":
        page.goto(f"{site.url}/revoke?subject=bob")
    else:
        page.goto(f"{site.url}/try?mcp_method=tools/call&tool=whoami")
        page.get_by_label("Claims (JSON) or a token").fill('{"sub": "erin", "groups": ["developers"]}')
        page.get_by_label("Why not").select_option("admins")
        page.get_by_role("button", name="Explain").click()
        page.locator("#result .verdict").wait_for()


def test_why_was_dave_refused_and_who_has_the_administrators_role(page, site):
    page.goto(f"{site.url}/decisions")
    page.keyboard.press("/")
    page.keyboard.type("dave")
    page.keyboard.press("Enter")
    row = page.locator("#decisions tr").first
    assert "no_role" in row.inner_text()
    row.get_by_text("no_role").click()  # anywhere in the row
    steps = page.locator(".steps").first
    assert "no mapping matched" in steps.locator(".fail").inner_text()
    assert len(steps.locator(".pass").all()) >= 11
    assert 'claims.groups does not have "admins"' in page.content().replace("&#34;", '"')
    page.goto(f"{site.url}/sessions")
    page.get_by_label("Role").select_option(label="DemoAdmin")
    page.get_by_role("button", name="Filter").click()
    assert "alice" in page.locator("#sessions table").inner_text()
    assert "bob" not in page.locator("#sessions table").inner_text()


def test_a_minute_is_found_in_the_viewers_zone(browser, site):
    context = browser.context(timezone_id="America/New_York")
    page = context.new_page()
    log_in(page, site.url)
    shown = page.evaluate("Intl.DateTimeFormat().resolvedOptions().timeZone")
    assert shown == "America/New_York"
    page.goto(f"{site.url}/decisions?user=dave")
    when = page.locator("#decisions time").first.get_attribute("datetime")
    local = page.evaluate(
        """(iso) => { const d = new Date(iso); d.setMinutes(d.getMinutes() - d.getTimezoneOffset());
        return d.toISOString().slice(0, 16); }""",
        when,
    )
    page.get_by_label("In the minute").fill(local)
    page.get_by_role("button", name="Filter").click()
    page.wait_for_url("**at=*")
    assert "dave" in page.locator("#decisions").inner_text()
    assert re.search(r"at=[^&]*-0[45]%3A00", page.url)
    assert browser.faults == []
    context.close()


def test_decisions_appear_as_they_are_made_and_stay_away_while_paused(page, site, browser):
    page.goto(f"{site.url}/decisions?user=frank")
    assert page.locator("#decisions tr").count() == 0
    token = site.token("demo-developer", user="frank")
    site.call(token)
    page.locator("#decisions tr").first.wait_for(timeout=10_000)
    page.get_by_role("button", name="Live").click()
    site.call(token)
    page.wait_for_timeout(2500)
    assert page.locator("#decisions tr").count() == 1
    page.get_by_role("button", name="Paused").click()
    page.locator("#decisions tr").nth(1).wait_for(timeout=10_000)
    assert browser.faults == []


def test_sessions_are_ended_after_a_question_refused_and_taken_back(page, site):
    token = site.token("demo-developer", user="grace")
    assert site.signs(token)
    page.goto(f"{site.url}/sessions?subject=grace")
    page.get_by_role("link", name="End the sessions of grace").click()
    assert "1 session meets" in page.locator("main").inner_text()
    page.get_by_role("link", name="Keep them").click()
    assert site.signs(token)
    page.goto(f"{site.url}/revoke?subject=grace")
    page.get_by_label("And refuse new requests for").select_option("3600")
    page.get_by_role("button", name="End 1 session").click()
    assert "Dropped: 1 session and 1 credential." in page.locator("main").inner_text()
    assert not site.signs(token)
    page.goto(f"{site.url}/sessions")
    row = page.locator("#revocations tr", has_text="grace")
    row.get_by_role("button", name="Take back").click()
    page.wait_for_url("**/sessions#revocations")
    assert page.locator("#revocations tr", has_text="grace").count() == 0
    assert site.signs(token)
    acts = site.audited("revoke")
    assert [each["outcome"] for each in acts[-2:]] == ["begun", "done"]
    assert (acts[-1]["actor"], acts[-1]["subject"]) == ("demo-admin", "grace")
    assert site.audited("lift")[-1]["outcome"] == "done"


def test_a_part_of_a_name_leads_to_the_users_whose_sessions_are_here(page, site):
    page.goto(f"{site.url}/sessions")
    page.get_by_label("User").first.fill("aro")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="carol").click()
    page.locator("#sessions tbody tr").wait_for()  # the only one


def test_a_token_is_tried_and_forgotten(page, site, browser):
    page.goto(f"{site.url}/try")
    token = site.token("demo-admin", user="heidi")
    box = page.get_by_label("Claims (JSON) or a token")
    box.fill(token)
    page.get_by_role("button", name="Explain").click()
    page.locator("#result .verdict").wait_for()
    result = page.locator("#result").inner_text()
    assert "DemoAdmin" in result
    assert "10 Scopes" in result
    page.goto(f"{site.url}/")
    page.go_back()
    for part in ("localStorage", "sessionStorage"):
        assert page.evaluate(f"JSON.stringify({part})") == "{}"
    assert not any(token in body for body in browser.bodies)


def test_an_envoy_configuration_is_checked(page, site):
    page.goto(f"{site.url}/envoy")
    assert "Nothing found" in page.locator("main").inner_text()
    page.get_by_label("YAML or JSON").fill("static_resources: {listeners: []}")
    page.get_by_role("button", name="Check").click()
    page.locator("#findings li").first.wait_for()
    assert "no ext_proc filter" in page.locator("#findings").inner_text()


@pytest.mark.parametrize(
    ("account", "enters", "acts"),
    [("demo-admin", True, True), ("demo-developer", True, False), ("demo-guest", False, False)],
)
def test_who_may_look_and_who_may_act(browser, site, account, enters, acts):
    context = browser.context()
    page = context.new_page()
    page.goto(f"{site.url}/sessions")
    page.get_by_role("link", name=account, exact=True).click()
    if not enters:
        page.get_by_text("may not look here").wait_for()
        assert page.goto(f"{site.url}/").url.startswith(site.stack.addresses.issuer)
    else:
        page.wait_for_url("**/sessions")
        page.get_by_role("heading", name="Sessions", exact=True).wait_for()
        assert (page.get_by_role("link", name="End the sessions of alice").count() > 0) is acts
        assert page.goto(f"{site.url}/revoke?subject=alice").status == (200 if acts else 403)
        cookie = next(each for each in context.cookies() if "login" not in each["name"])
        assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/")
    context.close()


def test_logging_out_ends_the_session_everywhere(page, site):
    context = page.context
    kept = context.cookies()
    page.get_by_role("button", name="Log out").click()
    page.get_by_text("You are logged out").wait_for()
    context.add_cookies(kept)
    assert page.goto(f"{site.url}/sessions").url.startswith(site.stack.addresses.issuer)


# --- Attacks ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def evil(site):
    """Serve an attacker's pages: ``localhost`` is another site than the console's 127.0.0.1."""

    class Pages(http.server.BaseHTTPRequestHandler):
        pages: ClassVar = {}

        def do_GET(self):
            body = self.pages.get(self.path.partition("?")[0], "").encode()
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.base = f"http://localhost:{server.server_port}"
    server.pages = Pages.pages
    yield server
    server.shutdown()
    server.server_close()


FORM = """<form id=f method=post action="{url}/revoke" enctype="{type}" target="{target}">
<input name=subject value=alice><input name=seconds value=3600><input name=csrf_token value="{token}"></form>
<script>f.submit()</script>"""
FORMS = [
    ("application/x-www-form-urlencoded", "_self"),
    ("text/plain", "_self"),
    ("multipart/form-data", "_self"),
    ("application/x-www-form-urlencoded", "_blank"),
]


@pytest.mark.parametrize(("encoding", "target"), FORMS)
def test_a_form_of_another_site_ends_no_session(page, site, evil, encoding, target):
    evil.pages["/"] = FORM.format(url=site.url, type=encoding, target=target, token="x")
    page.goto(evil.base)
    page.wait_for_timeout(1000)
    assert site.audited("revoke") == [] or site.audited("revoke")[-1]["subject"] != "alice"
    assert site.signs(site.tokens[0])


SCRIPTS = {
    "fetch with the cookie": "fetch('{url}/sessions', {{credentials: 'include'}}).then(r => r.text())",
    "fetch without cors": "fetch('{url}/sessions', {{credentials: 'include', mode: 'no-cors'}}).then(r => r.text())",
    "post as json": "fetch('{url}/revoke', {{method: 'POST', credentials: 'include', headers: {{'content-type':"
    " 'application/json'}}, body: '{{\"subject\": \"alice\"}}'}}).then(r => r.text())",
    "post without cors": "fetch('{url}/revoke', {{method: 'POST', credentials: 'include', mode: 'no-cors', body:"
    " new URLSearchParams('subject=alice&seconds=3600&csrf_token=x')}}).then(r => r.text())",
    "beacon": "new Promise(done => done(navigator.sendBeacon('{url}/revoke', new URLSearchParams("
    "'subject=alice&seconds=0')) && ''))",
    "event source": "new Promise(done => {{ const s = new EventSource('{url}/events/decisions', {{withCredentials:"
    " true}}); s.onmessage = e => done(e.data); s.onerror = () => done('') }})",
    "websocket": "new Promise(done => {{ const s = new WebSocket('{socket}/events/decisions'); s.onmessage ="
    " e => done(e.data); s.onerror = () => done('') }})",
    "script": "new Promise(done => {{ const s = document.createElement('script'); s.src = '{url}/decisions';"
    " s.onload = () => done('loaded'); s.onerror = () => done(''); document.head.append(s) }})",
    "style sheet": "new Promise(done => {{ const s = document.createElement('link'); s.rel = 'stylesheet'; s.href ="
    " '{url}/assets/console.css'; s.onload = () => done('loaded'); s.onerror = () => done('');"
    " document.head.append(s) }})",
    "image": "new Promise(done => {{ const s = new Image(); s.src = '{url}/assets/icon.svg'; s.onload = () =>"
    " done('loaded'); s.onerror = () => done('') }})",
    "frame": "new Promise(done => {{ const f = document.createElement('iframe'); f.src = '{url}/sessions'; f.onload ="
    " () => {{ try {{ done(f.contentDocument.body.innerText) }} catch {{ done(String(f.contentWindow.length"
    " || '')) }} }}; document.body.append(f) }})",
    "window": "new Promise(done => {{ const w = window.open('{url}/sessions'); setTimeout(() => {{ try {{"
    " done(w.document.body.innerText) }} catch {{ done(w.closed ? '' : 'open') }} }}, 1500) }})",
}


@pytest.mark.parametrize("attack", SCRIPTS)
def test_a_script_of_another_site_reads_and_does_nothing(page, site, evil, attack):
    evil.pages["/"] = "<!doctype html><title>evil</title><body>"
    page.goto(evil.base)
    host = site.url.partition("//")[2]
    script = SCRIPTS[attack].format(url=site.url, socket=f"ws://{host}")
    got = page.evaluate(
        f"Promise.race([{script}, new Promise(d => setTimeout(d, 4000, ''))]).catch(() => '')"
    )
    assert got in ("", None), got
    assert site.signs(site.tokens[0])
    assert not [each for each in site.audited("revoke") if each["subject"] == "alice"]


def test_a_name_that_is_rebound_to_the_console_shows_nothing(page, site):
    port = site.url.rpartition(":")[2]
    answer = page.goto(f"http://evil.example:{port}/sessions")
    assert answer.status == 421
    assert "alice" not in page.content()


@pytest.mark.parametrize("path", ["/decisions", "/sessions", "/", "/policy"])
def test_markup_in_claims_tools_and_paths_is_text(page, site, browser, path):
    page.goto(site.url + path)
    page.wait_for_timeout(1500)
    assert page.evaluate("window.attacked") is None
    assert browser.faults == []
    assert page.locator("main img[src=x], main script").count() == 0


def test_markup_in_what_is_pasted_or_in_a_filter_is_text(page, site, browser):
    for path in (f"/decisions?user={urllib.parse.quote(EVIL)}", f"/try?tool={urllib.parse.quote(EVIL)}"):
        page.goto(site.url + path)
        assert EVIL in [
            box.input_value() for box in page.locator("input[type=text], input:not([type])").all()
        ]
    page.goto(f"{site.url}/try")
    page.get_by_label("Claims (JSON) or a token").fill(
        json.dumps({"sub": EVIL, EVIL: [EVIL], "groups": [EVIL]})
    )
    page.get_by_role("button", name="Explain").click()
    page.locator("#result .verdict").wait_for()
    assert page.evaluate("window.attacked") is None
    assert browser.faults == []


def test_a_session_that_an_attacker_has_chosen_is_not_the_victims(browser, site):
    context = browser.context()
    name = f"extproc-console-{site.url.rpartition(':')[2]}"
    context.add_cookies([{"name": name, "value": "chosen", "url": site.url}])
    page = context.new_page()
    log_in(page, site.url)
    assert next(each["value"] for each in context.cookies() if each["name"] == name) != "chosen"
    context.close()


@pytest.mark.parametrize(
    "query",
    ["code=stolen&state=x", "error=access_denied&state=x", "code=a&state=x&iss=https://evil.example", ""],
)
def test_an_answer_to_another_login_logs_nobody_in(browser, site, query):
    context = browser.context()
    page = context.new_page()
    page.goto(f"{site.url}/login")  # a login of this browser is under way
    assert page.goto(f"{site.url}/login/callback?{query}").status in (400, 403)
    assert page.goto(f"{site.url}/").url.startswith(site.stack.addresses.issuer)
    context.close()


@pytest.mark.parametrize(
    "then", ["//evil.example", "https://evil.example", "/\\evil.example", "/%0d%0aset-cookie:a=b"]
)
def test_a_login_leads_nowhere_but_to_the_console(browser, site, then):
    context = browser.context()
    page = context.new_page()
    page.goto(f"{site.url}/login?then={urllib.parse.quote(then)}")
    page.get_by_role("link", name="demo-admin", exact=True).click()
    page.wait_for_url(f"{site.url}/**")
    page.wait_for_load_state()
    assert page.url.startswith(f"{site.url}/")
    context.close()


def test_scripts_of_a_page_cannot_make_html_or_run_strings(page, site):
    page.goto(site.url)
    assert (
        page.evaluate(
            "(() => { try { document.body.innerHTML = '<b>x</b>'; return 'made' } catch { return '' } })()"
        )
        == ""
    )
    assert (
        page.evaluate(
            "(() => { try { trustedTypes.createPolicy('other', {}); return 'made' } catch { return '' } })()"
        )
        == ""
    )


def test_no_token_and_no_secret_was_in_any_response(browser, site):
    assert len(browser.bodies) > 100
    everything = "\n".join(browser.bodies)
    opened = set(re.findall(r'"access_key_id":"(ASIA\w+)"', (site.stack.directory / "audit.log").read_text()))
    canaries = set(site.tokens) | {token.rpartition(".")[2] for token in site.tokens}
    for key_id in opened:
        secrets = site.stack.control("sts", f"credentials/{key_id}")
        canaries |= {secrets["secret_access_key"], secrets["session_token"]}
    console = "\n".join(body for body in browser.bodies)
    assert not [canary for canary in canaries if canary in console]
    assert tokens_in(everything) == []
    logs = (site.stack.directory / "extproc.log").read_text()
    assert not [canary for canary in canaries if canary in logs]


def test_an_operator_who_is_refused_is_logged_out(browser, site):  # the last: nobody is left to take it back
    first, second = browser.context(), browser.context()
    operator, other = first.new_page(), second.new_page()
    for page in (operator, other):
        log_in(page, site.url)
    operator.goto(f"{site.url}/revoke?subject=demo-admin")
    assert "This names you too" in operator.locator("main").inner_text()
    operator.get_by_role("button", name="Refuse").click()
    operator.get_by_role("heading", name="Done").wait_for()
    assert other.goto(f"{site.url}/revoke?subject=bob").status == 403
    assert other.goto(f"{site.url}/sessions").url.startswith(site.stack.addresses.issuer)
    first.close()
    second.close()
