"""The identity provider of a run: keys, as many users as wanted, and the documents that verifiers fetch."""

import http.server
import json
import threading
import time
from types import TracebackType
from typing import Self

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

AUDIENCE = "https://mcp.example/mcp"
_LIFETIME = 3600  # seconds, longer than any run


class IdentityProvider:
    """Mints access tokens and serves discovery and key set on loopback, from a thread."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        jwk = jwt.get_algorithm_by_name("RS256").to_jwk(self._key.public_key(), as_dict=True)
        keys = {"keys": [{**jwk, "kid": "bench", "use": "sig", "alg": "RS256"}]}
        documents = {"/jwks.json": keys}

        class Documents(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = documents.get(self.path)
                content = json.dumps(found).encode()
                self.send_response(404 if found is None else 200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Documents)
        self.issuer = f"http://127.0.0.1:{self._server.server_port}"
        documents["/.well-known/openid-configuration"] = {
            "issuer": self.issuer,
            "jwks_uri": f"{self.issuer}/jwks.json",
        }
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def token(self, user: str) -> str:
        """An access token like those of the big providers: RS256, about 900 characters."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": AUDIENCE,
            "sub": f"00u{user:0>17}",
            "email": f"{user}@example.com",
            "iat": now,
            "nbf": now,
            "exp": now + _LIFETIME,
            "jti": f"AT.{user:x>40}",
            "scope": "openid mcp",
            "groups": ["developers", *(f"team-{n}" for n in range(20))],
        }
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": "bench", "typ": "at+jwt"})
