"""``/healthz`` and ``/readyz`` for the controller's pod, over HTTP."""

import asyncio
from collections.abc import Callable

_LONGEST_REQUEST = 4096


async def serve(address: str, unready: Callable[[], list[str]]) -> asyncio.Server:
    """Listen at ``HOST:PORT``. Answers 200; to ``/readyz`` 503 with the reasons while there are some."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(5):
                line = (await reader.readline())[:_LONGEST_REQUEST].decode("latin-1").split(" ")
                path = line[1] if len(line) > 1 else ""
                reasons = unready() if path == "/readyz" else []
                status = "503 Service Unavailable" if reasons else "200 OK"
                if path not in ("/healthz", "/readyz"):
                    status, reasons = "404 Not Found", []
                body = "".join(f"{each}\n" for each in reasons).encode()
                head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                writer.write(head.encode() + body)
                await writer.drain()
        except (TimeoutError, OSError, ValueError):
            pass  # whoever asked has gone, or sent no request
        finally:
            writer.close()

    host, _, port = address.rpartition(":")
    return await asyncio.start_server(answer, host.strip("[]"), int(port), limit=_LONGEST_REQUEST)
