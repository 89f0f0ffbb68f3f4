"""An STS that answers every call at once, as a process of its own: ``python -m bench.instant_sts`` prints its port."""

import asyncio
import email.utils
import itertools
import time
from urllib.parse import parse_qs

_ANSWER = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><AssumedRoleUser>
<Arn>arn:aws:sts::123456789012:assumed-role/Developer/{session}</Arn><AssumedRoleId>AROA:{session}</AssumedRoleId>
</AssumedRoleUser><Credentials><AccessKeyId>ASIA{number:016d}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>
<SessionToken>{token}</SessionToken><Expiration>{expiration}</Expiration></Credentials>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""
_LIFETIME = 900  # seconds
_numbers = itertools.count()


def _answer(body: bytes) -> bytes:
    return _ANSWER.format(
        session=parse_qs(body.decode())["RoleSessionName"][0],
        number=next(_numbers),
        secret="s" * 40,
        token="t" * 800,  # about what AWS issues
        expiration=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + _LIFETIME)),
    ).encode()


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
            answer = _answer(await reader.readexactly(int(length)))
            date = email.utils.formatdate(usegmt=True)
            writer.write(
                f"HTTP/1.1 200 OK\r\ncontent-type: text/xml\r\ndate: {date}\r\n"
                f"content-length: {len(answer)}\r\n\r\n".encode()
                + answer
            )
    except asyncio.IncompleteReadError:
        writer.close()


async def _main() -> None:
    server = await asyncio.start_server(_serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main())
