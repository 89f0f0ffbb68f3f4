"""The console over a real admin service, called as a browser would call it, without a network."""

import asyncio
import json
import urllib.parse
from pathlib import Path

from google.protobuf.json_format import ParseDict

from extproc import config
from extproc.admin.client import CallError, to_dict
from extproc.admin.errors import NoAnswerError, RefusedError
from extproc.admin.v1 import admin_pb2
from extproc.console.process import build_web
from support.admin import SETTINGS, Context, admin_service
from support.pipelines import NOW, Parts

ISSUER = "https://idp.example"
HOST = "127.0.0.1:9466"
OIDC = """
listen: {console: "127.0.0.1:9466", admin_grpc: "unix:/run/extproc/admin.sock"}
console:
  oidc: {client_id: console}
  matcher: '"operators" in claims.groups'
  act_matcher: '"admins" in claims.groups'
  claims_matcher: '"auditors" in claims.groups'
"""
SOCKET = """
listen: {console: "unix:/run/extproc/console.sock", admin_grpc: "unix:/run/extproc/admin.sock"}
console: {socket_user: operator}
"""


class LocalClient:
    """The admin client's interface over a service in this process."""

    def __init__(self, service):
        self.service = service
        self.loop = asyncio.get_running_loop()
        self.calls = []
        self.failure = None

    def call(self, method, fields):
        self.calls.append((method, fields))
        if self.failure:
            raise self.failure
        request = ParseDict(dict(fields), getattr(admin_pb2, f"{method}Request")())
        work = getattr(self.service, method)(request, Context())
        try:
            return to_dict(asyncio.run_coroutine_threadsafe(work, self.loop).result(10))
        except RefusedError as error:
            raise CallError(str(error), refused=True) from None
        except NoAnswerError as error:
            raise CallError(f"UNAVAILABLE: {error}", refused=False) from None


class Answer:
    """An answer of the console."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def text(self):
        return self.body.decode()

    def header(self, name):
        """Return the only value of a header; None without."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) <= 1, f"{name} is there {len(values)} times"
        return values[0] if values else None

    @property
    def cookies(self):
        return dict(
            value.partition(";")[0].split("=", 1) for key, value in self.headers if key == "set-cookie"
        )

    @property
    def csrf_token(self):
        return self.text.split('name="csrf_token" value="')[1].partition('"')[0]


class Site:
    """The console, and a browser with its cookies."""

    def __init__(self, tmp_path: Path, *, settings=OIDC, parts=None, audit=None):
        self.parts = parts or Parts()
        self.service = admin_service(self.parts, audit=audit)
        self.client = LocalClient(self.service)
        self.audit_log = tmp_path / "audit.log"
        text = f"{SETTINGS}{settings}\naudit: {{output: '{self.audit_log}'}}\n"
        self.now = NOW
        self.web = build_web(config.parse(text), self.client, clock=lambda: self.now)
        self.cookies = {}

    def log_in(self, *groups, name="olga"):
        """Begin a session as if the issuer had said so."""
        claims = {"sub": name, "groups": list(groups)}
        user = self.web._access.of_claims(ISSUER, claims)
        assert user is not None
        self.cookies = {self.web._cookie: self.web._sessions.begin(user)[0]}
        return user

    async def send(self, method, path, *, headers=(), body=b"", host=HOST, cookies=None, peer_names=None):
        """Send a request; return the answer. A stream ends when its client goes, after the first event."""
        raw_path, _, query = path.partition("?")
        fields = [("host", host)] if host is not None else []
        sent = self.cookies if cookies is None else cookies
        if sent:
            fields.append(("cookie", "; ".join(f"{name}={value}" for name, value in sent.items())))
        fields += list(dict(headers).items()) if isinstance(headers, dict) else list(headers)
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": urllib.parse.unquote(raw_path),
            "raw_path": raw_path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in fields],
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 9466),
            "state": {"peer_names": peer_names} if peer_names else {},
        }
        sent_body = asyncio.Event()
        gone = asyncio.Event()
        messages = []

        async def receive():
            if not sent_body.is_set():
                sent_body.set()
                return {"type": "http.request", "body": body, "more_body": False}
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            messages.append(message)
            if b"data:" in message.get("body", b""):
                gone.set()

        await self.web(scope, receive, send)
        start = messages[0]
        names = [(name.decode(), value.decode()) for name, value in start["headers"]]
        answer = Answer(start["status"], names, b"".join(each.get("body", b"") for each in messages[1:]))
        if cookies is None:
            self.cookies |= {name: value for name, value in answer.cookies.items() if value != '""'}
        return answer

    async def get(self, path, **options):
        return await self.send("GET", path, **options)

    async def post(self, path, fields, *, csrf_token=None, headers=None, **options):
        """Send a form as a page of the console does."""
        if csrf_token is None:
            session = self.web._sessions.find(next(iter(self.cookies.values()), None))
            csrf_token = session.csrf_token if session else ""
        body = urllib.parse.urlencode({**fields, "csrf_token": csrf_token}).encode()
        own = {
            "content-type": "application/x-www-form-urlencoded",
            "origin": f"http://{HOST}",
            "sec-fetch-site": "same-origin",
        }
        return await self.send("POST", path, headers={**own, **(headers or {})}, body=body, **options)

    def audited(self):
        """Return the lines of the audit log."""
        return [json.loads(line) for line in self.audit_log.read_text().splitlines()]

    def decide(self, **fields):
        """Add a decision to the history; return its id."""
        event = {**EVENT, **fields}
        self.web.parts.history.add([json.dumps(event)])
        return self.web.parts.history.page(NO_FILTER, size=1)[0]["id"]


EVENT = {
    "time": "2026-12-01T10:42:03.5+00:00",
    "decision": "deny",
    "reason": "no_role",
    "detail": "no mapping matched",
    "request_id": "r-1",
    "trace_id": None,
    "issuer": ISSUER,
    "subject": "bob",
    "jti": None,
    "client": "cli",
    "agent": [],
    "target": "aws-mcp",
    "method": "POST",
    "path": "/mcp",
    "mcp_method": "tools/call",
    "mcp_tool": "aws___call_aws",
    "mapping": None,
    "role_arn": None,
    "session_name": None,
    "access_key_id": None,
    "cache": "miss",
    "duration_us": 812,
    "verify_us": 300,
    "policy_us": 40,
    "exchange_us": None,
    "target_us": None,
    "sign_us": None,
}

from extproc.console.history import Filter  # noqa: E402

NO_FILTER = Filter()
