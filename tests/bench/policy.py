"""What decisions cost: python tests/bench/policy.py. Figures, no verdict: they depend on the machine."""

import asyncio
import json
import time

from extproc.policy.decisions import Decisions
from extproc.policy.inputs import NO_INPUTS, Inputs
from extproc.policy.matchers import ClaimContains, cel_matcher
from extproc.policy.mcp import parse_message
from extproc.policy.rules import Policy, Rule
from extproc.values import Identity, Session

ROLE = "arn:aws:iam::123456789012:role/R"


def policy(matchers):
    return Policy(
        rules=[Rule(f"r{n}", matcher, ROLE, None) for n, matcher in enumerate(matchers)],
        fallback_role_arn=ROLE,
        session_name_claim="sub",
        session_duration=900,
    )


def session(groups):
    claims = {"sub": "alice", "email": "alice@example.com", "groups": [f"g{n}" for n in range(groups)]}
    return Session(b"digest", Identity("i", "alice", 2e9, claims, b""), "t")


def show(what, seconds, unit=1e3, name="ms"):
    print(f"{what:70} {seconds * unit:9.2f} {name}")


def timed(work, repeat):
    best = float("inf")
    for _ in range(repeat):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best


def main():
    forms = {
        "claim": lambda n: ClaimContains("groups", f"x{n}"),
        '"x" in claims.groups && !has(claims.act)': lambda n: cel_matcher(f'"x{n}" in claims.groups && !has(claims.act)'),
        "claims.groups.exists(g, g == ..)": lambda n: cel_matcher(f'claims.groups.exists(g, g == "x{n}")'),
        "mcp.tool == ..": lambda n: cel_matcher(f'mcp.tool == "x{n}"'),
    }  # fmt: skip
    for form, make in forms.items():
        rules = policy([make(n) for n in range(200)])
        for groups in (20, 3000):
            identity = session(groups).identity
            outcome = type(rules.decide(identity).outcome).__name__
            show(f"200 x {form}, {groups} groups ({outcome})", timed(lambda: rules.decide(identity), 3))  # noqa: B023
    hostile = policy([cel_matcher("claims.groups.all(a, claims.groups.all(b, a + b != ''))")])
    show("nested loops over 3000 groups (denied)", timed(lambda: hostile.decide(session(3000).identity), 3))
    for form, rules, inputs in (
        ("claims only", policy([cel_matcher("has(claims.sub)")]), NO_INPUTS),
        (
            "mcp.tool and one argument",
            policy([cel_matcher('mcp.tool == "x" && mcp.arguments.path == "y"')]),
            Inputs(mcp={"tool": "x", "arguments": {"path": "y", "text": "z" * 1000}}),
        ),
    ):
        made = Decisions(rules, max_sessions=10)
        someone = session(20)
        asyncio.run(made.decide(someone, inputs, made.key(inputs)))

        def recalled(made=made, someone=someone, inputs=inputs):
            for _ in range(1000):
                made.recall(someone, made.key(inputs))

        show(f"memoised, {form}", timed(recalled, 20) / 1000, 1e6, "us")
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
    for size in (100, 250_000):
        body = json.dumps({**call, "params": {"name": "t", "arguments": {"text": "x" * size}}}).encode()
        show(f"parsing a call of {size} characters", timed(lambda: parse_message(body), 20), 1e6, "us")  # noqa: B023
    body = json.dumps({**call, "params": {"name": "t", "arguments": {"l": [{}] * 19_000}}}).encode()
    show(f"parsing a hostile call of {len(body)} bytes", timed(lambda: parse_message(body), 5))


if __name__ == "__main__":
    main()
