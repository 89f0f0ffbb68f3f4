"""What is measured inside one process, without Envoy: ``python -m bench.inprocess micro|growth|memory ...``.

Prints one JSON object. Times in microseconds, memory in bytes.
"""

import asyncio
import gc
import itertools
import json
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import psutil
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials

from bench.identity import AUDIENCE
from bench.messages import BODY_MESSAGE, body_message, body_of, head_message
from bench.rig import ROLE, Rig
from bench.stats import Spread, spread
from bench.world import BODY
from extproc.ext_proc import decoding, encoding
from extproc.policy.inputs import NO_INPUTS
from extproc.policy.matchers import ClaimContains, cel_matcher
from extproc.policy.mcp import parse_message
from extproc.policy.rules import Policy, Rule
from extproc.telemetry.record import RequestRecord
from extproc.values import Identity

_ROUNDS = 7
_USERS = (1, 10, 100, 1000, 10_000)
_SESSIONS = (1000, 10_000, 100_000)
_SESSIONS_FOR_EACH_USER = 10  # a session is cheaper to open than to keep at work
_MAPPINGS = (0, 1, 10, 50, 200)
_BODIES = (1 << 10, 16 << 10, 128 << 10)  # bytes; larger ones go to another thread
_GROUPS = (20, 3000)
_FORMS = {
    "claim: x": lambda n: ClaimContains("groups", f"x{n}"),
    '"x" in claims.groups && !has(claims.act)': lambda n: cel_matcher(
        f'"x{n}" in claims.groups && !has(claims.act)'
    ),
    'claims.groups.exists(g, g == "x")': lambda n: cel_matcher(f'claims.groups.exists(g, g == "x{n}")'),
    'mcp.tool == "x"': lambda n: cel_matcher(f'mcp.tool == "x{n}"'),
}


def microseconds(work: Callable[[], object], seconds: float, *, rounds: int = _ROUNDS) -> Spread:
    """What one call takes: median and spread of rounds that take ``seconds`` each."""
    number = 1
    while (taken := _timed(work, number)) < seconds / 4:
        number *= 2
    number = max(1, int(number * seconds / taken))
    return spread(_timed(work, number) / number * 1e6 for _ in range(rounds))


def _timed(work: Callable[[], object], number: int) -> float:
    repeated = itertools.repeat(None, number)
    started = time.perf_counter()
    for _ in repeated:
        work()
    return time.perf_counter() - started


async def micro(directory: Path, seconds: float) -> dict[str, Any]:
    """The steps of one request, and the whole of a warm one."""
    mapping = {
        "name": "developers",
        "matcher": '"developers" in claims.groups && !has(claims.act)',
        "role_arn": ROLE,
    }
    rig = Rig(directory, mappings=[mapping])
    token = rig.token()
    await rig.open(token)
    pipeline, head = rig.pipeline, head_message(token)
    read = decoding.decode(head, target_name=None).head
    rig.request(head)  # the second time: from now on it is known
    admission = pipeline.admission.admit(read)
    authorized = pipeline.authorization.lookup(admission, NO_INPUTS, RequestRecord())
    payload = pipeline.signature.payload(admission, BODY)
    allow = pipeline.signature.sign(admission, authorized, payload, RequestRecord())
    identity, policy, verifier = (
        authorized.session.identity,
        pipeline.authorization._decisions._policy,
        pipeline.authorization._verifier,
    )

    def know_the_head() -> None:
        assert pipeline.heads.find(head, None)[0], "the head should be known"

    steps: dict[str, Callable[[], object]] = {
        "know the head": know_the_head,
        "parse body": lambda: decoding.decode(BODY_MESSAGE, target_name=None),
        "look up (session, decision, credentials)": lambda: pipeline.authorization.lookup(
            admission, NO_INPUTS, RequestRecord()
        ),
        "hash the body": lambda: pipeline.signature.payload(admission, BODY),
        "sign (and list what changes)": lambda: pipeline.signature.sign(
            admission, authorized, payload, RequestRecord()
        ),
        "encode": lambda: encoding.encode_allow(allow, to_body=True),
        "whole warm request: head and body": lambda: rig.request(head),
        "new head only: parse": lambda: decoding.decode(head, target_name=None),
        "new head only: admit (bearer, digest, target, path)": lambda: pipeline.admission.admit(read),
        "cold only: decide (one CEL rule)": lambda: policy.decide(identity),
    }
    found = {name: _row(microseconds(work, seconds)) for name, work in steps.items()}
    for algorithm in ("RS256", "ES256"):
        unverified = rig.token(algorithm)
        await verifier.verify(unverified)

        def verify(unverified: str = unverified) -> None:
            # It suspends only to fetch keys, and they are there.
            try:
                verifier.verify(unverified).send(None)
            except StopIteration:
                return
            raise AssertionError("verification waited for something")

        found[f"cold only: verify ({algorithm})"] = _row(microseconds(verify, seconds))
    return {**found, **_references(rig, authorized.credentials, seconds)}


def _references(rig: Rig, credentials: Any, seconds: float) -> dict[str, Any]:
    """What others take for the same, and what is done for rules that read the MCP message."""
    auth = SigV4Auth(
        BotocoreCredentials(
            credentials.access_key_id, credentials.secret_access_key, credentials.session_token
        ),
        "aws-mcp",
        "us-east-1",
    )

    def botocore_signs() -> None:
        request = AWSRequest(
            "POST", "https://aws-mcp.us-east-1.api.aws/mcp", {"Content-Type": "application/json"}, BODY
        )
        auth.add_auth(request)

    token, key = rig.token(), rig.public_key("RS256")
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
    large = json.dumps({**call, "params": {"name": "t", "arguments": {"text": "x" * 250_000}}}).encode()
    steps: dict[str, Callable[[], object]] = {
        "if rules read it: parse the MCP message": lambda: parse_message(BODY),
        "if rules read it: parse one of 250,000 bytes": lambda: parse_message(large),
        "to compare: PyJWT's bare decode (RS256)": lambda: jwt.decode(
            token, key, algorithms=["RS256"], audience=AUDIENCE
        ),
        "to compare: botocore's SigV4Auth": botocore_signs,
    }
    return {name: _row(microseconds(work, seconds)) for name, work in steps.items()}


def decisions(count: int, seconds: float) -> list[list[Any]]:
    """One decision over ``count`` mappings of each form, none of which matches."""
    rows = []
    for form, make in _FORMS.items():
        policy = Policy(
            rules=[Rule(f"m{n}", make(n), ROLE, None) for n in range(count)],
            fallback_role_arn=ROLE,
            session_name_claim="sub",
            session_duration=900,
        )
        for groups in _GROUPS:
            claims = {"sub": "alice", "groups": [f"g{n}" for n in range(groups)]}
            identity = Identity("i", "alice", 2e9, claims, b"")
            seen = microseconds(
                lambda policy=policy, identity=identity: policy.decide(identity), seconds, rounds=3
            )
            rows.append([form, groups, type(policy.decide(identity).outcome).__name__, _row(seen)])
    return rows


async def growth(directory: Path, seconds: float, *, most_users: int, most_mappings: int) -> dict[str, Any]:
    """A warm request against users, mappings and body sizes; a cold decision against mappings."""
    users, rules, sizes = [], [], []
    rig = Rig(directory)
    heads: list[bytes] = []
    for count in (n for n in _USERS if n <= most_users):
        while len(heads) < count:
            token = rig.token("ES256")
            await rig.open(token)
            heads.append(head_message(token))
        turn = itertools.cycle(heads)
        users.append([count, _row(microseconds(lambda turn=turn: rig.request(next(turn)), seconds))])
    held = []
    for count in (n for n in _SESSIONS if n <= most_users * _SESSIONS_FOR_EACH_USER):
        while len(rig.app._state.sessions) < count:
            await rig.open(rig.token("ES256"))
        held.append([count, _row(microseconds(lambda: rig.request(heads[0]), seconds))])
    for count in (n for n in _MAPPINGS if n <= most_mappings):
        mappings = [
            {
                "name": f"m{n}",
                "matcher": f'"none-{n}" in claims.groups && !has(claims.act)',
                "role_arn": ROLE,
            }
            for n in range(count)
        ]
        some = Rig(directory, mappings=mappings)
        token = some.token()
        await some.open(token)
        head = head_message(token)
        admission = some.pipeline.admission.admit(decoding.decode(head, target_name=None).head)
        identity = some.pipeline.authorization.lookup(admission, NO_INPUTS, RequestRecord()).session.identity
        warm = microseconds(lambda some=some, head=head: some.request(head), seconds)
        policy = some.pipeline.authorization._decisions._policy
        cold = microseconds(lambda policy=policy, identity=identity: policy.decide(identity), seconds)
        rules.append([count, _row(warm), _row(cold)])
    for size in _BODIES:
        body = body_message(body_of(size))
        sizes.append([size, _row(microseconds(lambda body=body: rig.request(heads[0], body), seconds))])
    return {
        "users": users,
        "sessions": held,
        "mappings": rules,
        "bodies": sizes,
        "forms": {"mappings": most_mappings, "rows": decisions(most_mappings, seconds)},
    }


async def memory(directory: Path, count: int, *, traced: bool) -> dict[str, Any]:
    """What ``count`` open sessions hold."""
    rig = Rig(directory)
    for _ in range(200):  # what is allocated once
        await rig.open(rig.token("ES256"))
    gc.collect()
    before = psutil.Process().memory_info().rss
    if traced:
        tracemalloc.start()
    for _ in range(count):
        await rig.open(rig.token("ES256"))
    gc.collect()
    held = tracemalloc.get_traced_memory()[0] if traced else psutil.Process().memory_info().rss - before
    sessions = rig.app._state.sessions.values()[-count:]
    assert len(sessions) == count, "sessions were evicted"
    tokens = sum(
        sys.getsizeof(session.unverified_web_identity_token)
        + sum(sys.getsizeof(live.credentials.session_token) for _, live in session.living())
        for session in sessions
    )
    return {"sessions": count, "held": held, "tokens": tokens, "traced": traced}


def _row(seen: Spread) -> list[float]:
    return [seen.median, seen.low, seen.high]


def main() -> None:
    """Run one of the measurements."""
    # Of the 100,000 sessions, nobody wants to read that each has been opened.
    kind, *arguments = sys.argv[1:]
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        if kind == "memory":
            work = memory(directory, int(arguments[0]), traced=arguments[1:] == ["traced"])
        elif kind == "growth":
            seconds, users, mappings = arguments
            work = growth(directory, float(seconds), most_users=int(users), most_mappings=int(mappings))
        else:
            work = micro(directory, float(arguments[0]))
        print("\n" + json.dumps(asyncio.run(work)))


if __name__ == "__main__":
    main()
