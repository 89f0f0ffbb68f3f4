"""Values that a browser keeps for the console, with a signature: the state of a login under way."""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from typing import Any

from extproc.clock import Clock


class Signer:
    """Signs JSON objects with a key of this process, for a limited time."""

    def __init__(self, *, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._key = secrets.token_bytes(32)

    def sign(self, value: Mapping[str, Any]) -> str:
        """Return the value as a string for a cookie."""
        body = json.dumps({**value, "until": self._clock() + self._seconds}, separators=(",", ":")).encode()
        return f"{_encoded(body)}.{_encoded(self._mac(body))}"

    def read(self, signed: str) -> dict[str, Any] | None:
        """Return the value of a string that this process has signed; None for any other, or a late one."""
        try:
            body, mac = (base64.urlsafe_b64decode(part + "==") for part in signed.split("."))
        except (ValueError, binascii.Error):
            return None
        if not hmac.compare_digest(mac, self._mac(body)):
            return None
        value: dict[str, Any] = json.loads(body)
        return value if self._clock() < value.pop("until") else None

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, hashlib.sha256)


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
