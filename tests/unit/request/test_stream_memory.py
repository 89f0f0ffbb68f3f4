"""What a session keeps of its requests does not grow with what clients send."""

import pytest

from support.driven import drive
from support.envoy_messages import headers_message
from support.pipelines import Parts

SIGNATURE = "0123456789" * 9
TOKEN = f"e30.e30.{SIGNATURE}"


@pytest.mark.parametrize(
    "message",
    [
        {"path": "/mcp?q=" + "x" * 30_000},
        {"headers": [(f"x-{n}-" + "n" * 1000, SIGNATURE) for n in range(20)]},  # removed: copies of the token
    ],
    ids=["a long path", "long names of removed headers"],
)
async def test_long_paths_and_names_are_not_kept(message):
    parts, short = Parts(), headers_message(token=TOKEN, end_of_stream=True)

    async def answered_with(**message):
        (seen,) = await drive(parts, headers_message(token=TOKEN, end_of_stream=True, **message))
        assert seen.is_signed
        return seen.set["authorization"], seen.removed

    first, again = await answered_with(**message), await answered_with(**message)
    assert first == again
    ((_, live),) = parts.sessions.values()[0].living()
    _, prepared = live.signing.present
    kept = [prepared.signing.begun, prepared.headers.around]
    assert len(repr(kept)) < 10_000
    await drive(parts, short)
    _, prepared = live.signing.present
    assert prepared.signing.begun is not None
    assert prepared.headers.around is not None
