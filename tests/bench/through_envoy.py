"""What is measured through the real Envoy: throughput, latency, cold paths, exchanges, bodies."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.load import Generator, Load
from bench.messages import body_of
from bench.stats import spread
from bench.world import ENVOY_ALONE, GO_NOOP, NATIVE, UNCACHED, Contender, World, engines, full, noop

CONNECTIONS = 32
_BODY_CONNECTIONS = 8
_DELAYS = (0.0, 0.01, 0.03, 0.1)  # seconds that STS takes

Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how often; seconds."""

    rounds: int
    seconds: float
    users: int
    cold_users: int
    body_sizes: Sequence[int]
    proxy_calls: int
    proxy_delays: Sequence[float]
    most_users: int
    most_mappings: int
    sessions: Sequence[int]
    idle_streams: int
    micro_seconds: float


FULL = Plan(
    rounds=11,
    seconds=2,
    users=1000,
    cold_users=20,
    body_sizes=(1 << 10, 16 << 10, 256 << 10, 1 << 20, 4 << 20),
    proxy_calls=200,
    proxy_delays=(0.0, 0.03),
    most_users=10_000,
    most_mappings=200,
    sessions=(10_000, 100_000),
    idle_streams=10_000,
    micro_seconds=0.2,
)
QUICK = Plan(
    rounds=2,
    seconds=1,
    users=30,
    cold_users=3,
    body_sizes=(1 << 20,),
    proxy_calls=20,
    proxy_delays=(0.0,),
    most_users=100,
    most_mappings=10,
    sessions=(1_000,),
    idle_streams=500,
    micro_seconds=0.02,
)


@dataclass(frozen=True, slots=True)
class Case:
    """A contender under the load of some users."""

    name: str
    contender: Contender
    requests: list[bytes]


def cases(world: World, plan: Plan) -> list[Case]:
    """All contenders with one user, the product also with many; every session is open then."""
    one, many = world.tokens(1), world.tokens(plan.users)
    found = []
    names = [ENVOY_ALONE, NATIVE, GO_NOOP, *map(noop, engines()), *map(full, engines())]
    for contender in (world.contenders[name] for name in names if name in world.contenders):
        world.warm(contender, one)
        world.check_signature(contender, one[0])
        found.append(Case(contender.name, contender, world.requests(contender, one)))
    for contender in (world.contenders[full(engine)] for engine in engines()):
        world.warm(contender, many)
        found.append(
            Case(f"{contender.name}, {plan.users} users", contender, world.requests(contender, many))
        )
    return found


def alternating(
    plan: Plan, names: Sequence[str], measure: Callable[[str], Result]
) -> dict[str, list[Result]]:
    """Rounds of all, each in another order, so that no one always comes first or after the same."""
    found: dict[str, list[Result]] = {name: [] for name in names}
    for turn in range(plan.rounds):
        at = turn % len(names)
        for name in (*names[at:], *names[:at]):
            found[name].append(measure(name))
    return found


def throughput(world: World, generator: Generator, plan: Plan) -> Result:
    """Every case with many connections, then with one."""
    by_name = {case.name: case for case in cases(world, plan)}
    names = list(by_name)
    single = [case.name for case in by_name.values() if len(case.requests) == 1]
    loaded = alternating(
        plan, names, lambda name: _round(world, generator, by_name[name], CONNECTIONS, plan.seconds)
    )
    alone = alternating(
        plan, single, lambda name: _round(world, generator, by_name[name], 1, max(1, plan.seconds / 2))
    )
    for case in by_name.values():
        if case.contender.signs:
            user = _token_of(case.requests[0])
            world.check_signature(case.contender, user)
    memory = {}
    for case in by_name.values():
        if case.contender.process is not None:
            memory[case.contender.process] = world.processes.rss(case.contender.process)
    memory["envoy"] = world.processes.rss("envoy")
    return {
        "cases": {
            name: {
                "signs": by_name[name].contender.signs,
                "process": by_name[name].contender.process,
                "loaded": loaded[name],
                "alone": alone.get(name, []),
            }
            for name in names
        },
        "rss": memory,
    }


def _token_of(request: bytes) -> str:
    _, _, after = request.partition(b"authorization: Bearer ")
    return after.partition(b"\r\n")[0].decode("ascii")


def _round(world: World, generator: Generator, case: Case, connections: int, seconds: float) -> Result:
    before = world.processes.cpu()
    load = _played(world, generator, case, connections=connections, seconds=seconds)
    after = world.processes.cpu()
    named = {"envoy": "envoy", "upstream": "upstream"}
    if case.contender.process is not None:
        named["server"] = case.contender.process
    cpu = {role: (after[name] - before[name]) / load.requests * 1e6 for role, name in named.items()}
    return {**_seen(load), "cpu": {**cpu, "load": load.cpu / load.requests * 1e6}}


def _played(world: World, generator: Generator, case: Case, *, connections: int, seconds: float) -> Load:
    load = generator.run(case.contender.port, case.requests, connections=connections, seconds=seconds)
    # The upstream answers 403 to whatever is not signed: nothing unsigned may count.
    if load.failures or not load.requests:
        process = case.contender.process
        log = world.processes.log_end(process) if process else ""
        raise RuntimeError(f"{case.name}: {load.failures} of {load.requests} requests failed\n{log}")
    return load


def _seen(load: Load) -> Result:
    return {"rate": load.rate, "p50": load.p50, "p99": load.p99, "p999": load.p999}


def exchanges(world: World, generator: Generator, plan: Plan) -> Result:
    """One user, STS at 0 and 30 ms: the product starting cold, and the variant without a cache."""
    found: Result = {}
    for delay in (0.0, 0.03):
        rounds: dict[str, list[Result]] = {full(engines()[0]): [], UNCACHED: []}
        for _ in range(min(plan.rounds, 3)):
            for name, seen in rounds.items():
                contender = world.contenders[name]
                case = Case(name, contender, world.requests(contender, world.tokens(1)))
                world.sts_delay(delay)
                load = _played(world, generator, case, connections=CONNECTIONS, seconds=plan.seconds)
                seen.append({**_seen(load), "requests": load.requests, "exchanges": world.exchanges()})
        found[f"{delay * 1000:.0f}"] = rounds
    world.sts_delay(0)
    return found


def cold_path(world: World, plan: Plan) -> list[Result]:
    """The first request of a user, and the second, against what STS takes. Milliseconds."""
    contender = world.contenders[full(engines()[0])]
    rows = []
    for delay in _DELAYS:
        world.sts_delay(delay)
        first, second = [], []
        for token in world.tokens(plan.cold_users):
            first.append(_milliseconds(world, contender, token))
            second.append(_milliseconds(world, contender, token))
        rows.append({"sts": delay * 1000, "first": first, "second": second})
    world.sts_delay(0)
    return rows


def _milliseconds(world: World, contender: Contender, token: str) -> float:
    started = time.perf_counter()
    world.warm(contender, [token])
    return (time.perf_counter() - started) * 1000


def bodies(world: World, generator: Generator, plan: Plan) -> list[Result]:
    """Requests a second against the body's size, for the no-op and the product."""
    rows = []
    names = (noop(engines()[0]), full(engines()[0]))
    token = world.tokens(1)
    world.warm(world.contenders[names[1]], token)
    for size in plan.body_sizes:
        body = body_of(size)
        seen: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(min(plan.rounds, 3)):
            for name in names:
                contender = world.contenders[name]
                case = Case(f"{name}, {size} bytes", contender, world.requests(contender, token, body))
                load = _played(
                    world, generator, case, connections=_BODY_CONNECTIONS, seconds=max(1, plan.seconds / 2)
                )
                seen[name].append(load.rate)
        rows.append({"size": len(body), **{name: seen[name] for name in names}})
    return rows


def noise(result: Result) -> float:
    """How far the rounds of Envoy alone lie apart, as a share: the machine's own doing."""
    return spread(row["rate"] for row in result["cases"][ENVOY_ALONE]["loaded"]).width
