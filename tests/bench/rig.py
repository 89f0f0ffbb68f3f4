"""The product in one process: as ``App`` builds it, keys from a file, STS answered at once unless there is one."""

import itertools
import json
import logging
import secrets
import time
from pathlib import Path
from typing import Any

import jwt
import structlog
import yaml
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from bench.identity import AUDIENCE
from bench.messages import BODY_MESSAGE, head_message
from bench.world import UNLIMITED
from extproc import config
from extproc.app.lifecycle import App
from extproc.request.answers import Answer
from extproc.request.stream import Stream
from extproc.values import Credentials

ROLE = "arn:aws:iam::123456789012:role/Developer"
_ISSUER = "https://idp.example"
_SESSION_TOKEN = 800  # characters, about what AWS issues

COUNTED = {"name": "aws-mcp", "host": "aws-mcp.us-east-1.api.aws", **UNLIMITED}
UNCOUNTED = {
    "name": "t",
    "host": "t.us-east-1.amazonaws.com",
    "service": "bedrock-agentcore",
    "region": "us-east-1",
}
"""A target whose open requests are not counted: its streams end with the answer."""


class InstantExchange:
    """STS without the network: new credentials for everybody."""

    def __init__(self) -> None:
        self._numbers = itertools.count()

    async def exchange(self, _owner: object, _token: object, _grant: object) -> Credentials:
        """Credentials that differ each time, as AWS's do."""
        return Credentials(
            f"ASIA{next(self._numbers):016d}",
            secrets.token_urlsafe(30),
            secrets.token_urlsafe(_SESSION_TOKEN * 3 // 4),
            time.time() + 3600,
        )


class Rig:
    """A pipeline, its keys, and tokens for it."""

    def __init__(self, directory: Path, *, mappings: list[dict[str, Any]] | None = None, **more: Any) -> None:
        # Each user's first request would be a line.
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
        self._keys = {
            "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
            "ES256": ec.generate_private_key(ec.SECP256R1()),
        }
        jwks = directory / "jwks.json"
        jwks.write_text(json.dumps({"keys": [self._jwk(name) for name in self._keys]}), encoding="ascii")
        document = {
            "listen": {"admin": None},
            "resource": {"url": AUDIENCE},
            "issuers": [{"issuer": _ISSUER, "audiences": [AUDIENCE], "jwks_file": str(jwks)}],
            "targets": [COUNTED],
            "fallback_role_arn": ROLE,
            "role_mappings": [{"name": "first", "claim": "developers", "role_arn": ROLE}]
            if mappings is None
            else mappings,
            "limits": {"sessions": 200_000},
            "audit": {"output": None},  # its writer is another thread, and measured by bench.telemetry
            **more,
        }
        path = directory / "extproc.yaml"
        path.write_text(yaml.safe_dump(document), encoding="ascii")
        self.app: Any = App(config.load(path))
        if "sts" not in more:
            self.app._state.credentials._exchange = InstantExchange()
        self.pipeline = self.app._reloader.current.pipeline
        self._users = itertools.count()

    def public_key(self, algorithm: str) -> Any:
        """The key that verifies tokens."""
        return self._keys[algorithm].public_key()

    def _jwk(self, algorithm: str) -> dict[str, Any]:
        jwk = jwt.get_algorithm_by_name(algorithm).to_jwk(self.public_key(algorithm), as_dict=True)
        return {**jwk, "kid": algorithm, "use": "sig", "alg": algorithm}

    def token(self, algorithm: str = "RS256") -> str:
        """A new user's token, of about 900 characters."""
        user, now = next(self._users), int(time.time())
        claims = {
            "iss": _ISSUER,
            "aud": AUDIENCE,
            "sub": f"00u{user:017d}",
            "email": f"user{user}@example.com",
            "iat": now,
            "exp": now + 3600,
            "jti": f"AT.{user:040d}",
            "scope": "openid mcp",
            "groups": ["developers", *(f"team-{n}" for n in range(20))],
        }
        return jwt.encode(
            claims, self._keys[algorithm], algorithm=algorithm, headers={"kid": algorithm, "typ": "at+jwt"}
        )

    async def open(self, token: str) -> None:
        """Let a user's first request through."""
        stream = Stream(self.pipeline, target_name=None)
        for message in (head_message(token), BODY_MESSAGE):
            answer = stream.receive(message)
            answer = answer if isinstance(answer, Answer) else await answer
        assert answer.last or answer.may_end, "a signed request was expected"
        assert b"AWS4-HMAC-SHA256" in answer.message, "a signed request was expected"
        stream.close()

    def request(self, head: bytes, body: bytes = BODY_MESSAGE) -> None:
        """A warm request, as the transport has it made."""
        stream = Stream(self.pipeline, target_name=None)
        stream.receive(head)
        stream.receive(body)
        stream.close()
