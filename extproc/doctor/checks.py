"""The checks, in the order in which a request meets what they examine, and their execution."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from extproc.doctor.aws import exchange, identity, sts
from extproc.doctor.configuration import configuration
from extproc.doctor.envoy import envoy, metadata
from extproc.doctor.examination import Examination
from extproc.doctor.finding import Finding, failed
from extproc.doctor.listener import health, listener
from extproc.doctor.network import connections, names, tls
from extproc.doctor.providers import clocks, discovery, keys
from extproc.doctor.target import call
from extproc.doctor.token import decision, token
from extproc.doctor.token_exchange import token_exchange


@dataclass(frozen=True, slots=True)
class Check:
    """One check. ``needs``: the checks that come before it; all others may run at the same time."""

    name: str
    examine: Callable[[Examination], Awaitable[list[Finding]]]
    needs: tuple[str, ...] = ()


CHECKS = (
    Check("configuration", configuration),
    Check("names", names),
    Check("connections", connections, ("names",)),
    Check("tls", tls, ("connections",)),
    Check("metadata", metadata),
    Check("envoy", envoy),
    Check("listener", listener),
    Check("health", health, ("listener",)),
    Check("discovery", discovery, ("tls",)),
    Check("keys", keys, ("discovery",)),
    Check("sts", sts, ("tls",)),
    Check("clocks", clocks, ("keys", "sts")),
    Check("token", token, ("keys",)),
    Check("decision", decision, ("token",)),
    Check("token_exchange", token_exchange, ("decision",)),
    Check("exchange", exchange, ("token_exchange", "sts")),
    Check("identity", identity, ("exchange",)),
    Check("call", call, ("exchange",)),
)


async def examine(
    examination: Examination, on_done: Callable[[str], None] = lambda _name: None
) -> dict[str, list[Finding]]:
    """Make all checks, as many at once as can be; return the findings by check, in the order above.

    ``on_done`` is called with the name of each check that has ended.
    """
    tasks: dict[str, asyncio.Task[list[Finding]]] = {}

    async def run(check: Check) -> list[Finding]:
        await asyncio.gather(*(tasks[name] for name in check.needs))
        try:
            return await check.examine(examination)
        except Exception as error:  # noqa: BLE001 - a bug in one check must not hide what others find
            return [failed(check.name, f"the check itself failed: {type(error).__name__}", "report this bug")]
        finally:
            on_done(check.name)

    for check in CHECKS:
        tasks[check.name] = asyncio.create_task(run(check))
    return {name: await task for name, task in tasks.items()}
