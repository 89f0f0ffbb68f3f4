"""Envoy's admin interface: whether it is ready, and how it drains (Envoy docs, operations/admin)."""

import asyncio
import re
import urllib.error
import urllib.request

_TIMEOUT = 2.0  # seconds for one request
_POLL = 0.1  # seconds
_ACTIVE = re.compile(r"downstream_rq_active: ([0-9]+)$", re.MULTILINE)
# Proxies of the environment are for the internet, not for this machine.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class EnvoyAdmin:
    """Calls the admin interface at ``HOST:PORT``. An Envoy that does not answer has nothing to drain."""

    def __init__(self, address: str) -> None:
        self._url = f"http://{address}"

    async def ready(self) -> bool:
        """Return whether Envoy serves."""
        return (await self._call("GET", "/ready")) is not None

    async def drain(self, seconds: float) -> bool:
        """Take no new connection, and wait until no request is under way; return whether that came true.

        Connections that stay open are closed after the response that they wait for (``healthcheck/fail``).
        """
        await self._call("POST", "/healthcheck/fail")
        await self._call("POST", "/drain_listeners")
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while (active := await self._active_requests()) != 0:
            if active is None or loop.time() >= end:
                return active is None
            await asyncio.sleep(_POLL)
        return True

    async def _active_requests(self) -> int | None:
        """Return the number of requests of clients under way; None if Envoy does not answer."""
        text = await self._call("GET", "/stats?filter=^http.ingress.downstream_rq_active$")
        found = _ACTIVE.search(text) if text is not None else None
        return int(found[1]) if found else None

    async def _call(self, method: str, path: str) -> str | None:
        """Return the body of a 200, and None otherwise."""
        return await asyncio.to_thread(self._blocking_call, method, path)

    def _blocking_call(self, method: str, path: str) -> str | None:
        request = urllib.request.Request(self._url + path, method=method)  # noqa: S310 - http of its own
        try:
            with _opener.open(request, timeout=_TIMEOUT) as response:
                return str(response.read().decode("utf-8", "replace"))
        except (OSError, urllib.error.HTTPError):
            return None
