"""Streams of many users in two threads and the event loop, while sessions end in every way there is.

The polling thread of an engine answers from memory what the event loop changes at the same time. Each request
must be signed with credentials of its own token, and nothing may be left behind.
"""

import asyncio
import random
import sys
import threading
import time

import pytest

from extproc.errors import Denied, Reason
from extproc.fairness.stream_slots import SlotLimit, StreamSlots
from extproc.request.answers import Answer
from extproc.request.stream import Stream
from extproc.sessions.revocation import Selector
from extproc.values import Credentials, Identity
from support.envoy_messages import Seen, body_message, headers_message, response_message
from support.pipelines import NOW, FakeVerifier, Parts

USERS = ("alice", "bob", "carol", "dave")
RESPONSES = (response_message("200"), response_message("403", "ExpiredTokenException"))


class Verifier(FakeVerifier):
    """Verifies a token of the user in it, and loses its trust in some now and then."""

    def __init__(self, chance):
        super().__init__()
        self.chance = chance

    async def verify(self, unverified_token, *, jwt_payload=None):
        await asyncio.sleep(0)
        if self.chance.random() < 0.02:
            raise Denied(self.chance.choice((Reason.KEYS_UNAVAILABLE, Reason.KEY_UNKNOWN)))
        user = unverified_token.split(".")[1]
        return Identity("https://idp.example", user, NOW + 600, {"sub": user, "groups": ["admins"]}, b"k")

    def still_trusted(self, _identity, _jwt_payload):
        return self.chance.random() > 0.01


class Exchange:
    """Hands out credentials that name the token they are for."""

    def __init__(self, chance):
        self.chance = chance

    async def exchange(self, _owner, token, _grant):
        await asyncio.sleep(self.chance.choice((0, 0.001)))
        if self.chance.random() < 0.03:
            raise Denied(self.chance.choice((Reason.STS_ACCESS_DENIED, Reason.STS_UNAVAILABLE)))
        return Credentials("ASIA" + token.replace(".", ""), "s" * 40, token, NOW + 900)


class Client:
    """Sends requests in a thread, as a polling thread would, until ``until``."""

    def __init__(self, parts, loop, seed, until):
        self._parts = parts
        self._loop = loop
        self._chance = random.Random(seed)
        self._until = until
        self.signed = 0
        self.errors = []

    def run(self):
        try:
            while time.monotonic() < self._until:
                self._request()
        except Exception as error:  # noqa: BLE001 - the test shows it
            self.errors.append(repr(error))

    def _request(self):
        token = f"h.{self._chance.choice(USERS)}.{self._chance.randrange(3)}"
        has_body = self._chance.random() < 0.4
        messages = [headers_message(token=token, end_of_stream=not has_body)]
        messages += [body_message()] if has_body else []
        messages.append(self._chance.choice(RESPONSES))
        stream = Stream(self._parts.pipeline, target_name=None)
        for message in messages:
            answer = stream.receive(message)
            if not isinstance(answer, Answer):
                answer = self._waited(answer)
            if answer is None:
                break
            self._judge(token, Seen(answer.message))
            if answer.last or self._chance.random() < 0.05:
                break
        stream.close()

    def _waited(self, step):
        """The answer, or None for a client that leaves meanwhile."""
        leaves_after = 0.0005 if self._chance.random() < 0.1 else 10

        async def waited():
            async with asyncio.timeout(leaves_after):
                return await step

        try:
            return asyncio.run_coroutine_threadsafe(waited(), self._loop).result()
        except TimeoutError:
            return None

    def _judge(self, token, seen):
        if seen.is_signed:
            self.signed += 1
            key = seen.set["authorization"].partition("Credential=")[2].partition("/")[0]
            if (key, seen.set["x-amz-security-token"]) != ("ASIA" + token.replace(".", ""), token):
                self.errors.append(f"{token} was signed with {key}")
        elif seen.is_immediate and seen.status == 500:
            self.errors.append(seen.body)


@pytest.mark.parametrize(("entries", "counted"), [(100, False), (8, True)])
async def test_sessions_that_end_in_every_way_mix_nothing_up_and_leave_nothing(entries, counted):
    chance = random.Random(entries)
    slots = StreamSlots({"aws-mcp": SlotLimit(2, 2, 4, 0.01)} if counted else {})
    parts = Parts(answers="every", slots=slots)
    parts.sessions._max_entries = entries
    parts.pipeline.authorization._verifier = Verifier(chance)
    parts.credentials._exchange = Exchange(chance)
    until = time.monotonic() + 0.8
    clients = [Client(parts, asyncio.get_running_loop(), seed, until) for seed in range(2)]
    before, threads = sys.getswitchinterval(), [threading.Thread(target=client.run) for client in clients]
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        while time.monotonic() < until:
            await asyncio.sleep(0.005)
            user = Selector(subject=chance.choice(USERS))
            role = Selector(role_arn="arn:aws:iam::123456789012:role/Admin")
            chance.choice(
                (
                    lambda: parts.revocation.revoke(user),  # noqa: B023 - called at once
                    lambda: parts.revocation.revoke(role),  # noqa: B023
                    parts.forget_refusals,
                    parts.sessions.expire,
                    parts.credentials.renew_due,
                    parts.pipeline.heads.forget_idle,
                    lambda: setattr(parts, "now", min(parts.now + 31, NOW + 500)),
                )
            )()
    finally:
        for thread in threads:
            await asyncio.to_thread(thread.join)
        sys.setswitchinterval(before)
    await asyncio.sleep(0.05)
    assert [client.errors for client in clients] == [[], []]
    assert all(client.signed for client in clients)
    held = parts.sessions.values()
    living = [len(session.living()) for session in held]
    assert parts.sessions.credentials == sum(living)
    assert parts.sessions._entries == sum(max(1, count) for count in living) <= entries
    assert not any(session.ended for session in held)
    assert parts.pipeline.responses.waiting == 0
    assert all((count.open, count.waiting) == (0, 0) for count in slots.counts().values())
    assert len(parts.credentials._exchanging) == len(parts.pipeline.authorization._opening) == 0
