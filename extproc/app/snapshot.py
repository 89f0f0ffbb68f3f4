"""One configuration as one immutable object: everything that a request needs.

A stream reads the current snapshot when it begins, and uses it until its end. What outlives a
configuration is in ``app.process_state``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from extproc.app.factories import (
    build_key_stores,
    build_pipeline,
    build_policy,
    build_targets,
    build_verifier,
)
from extproc.app.process_state import ProcessState
from extproc.app.sts_client import build_sts
from extproc.app.token_exchanges import build_token_exchanges
from extproc.authn.keys import KeyStore
from extproc.authn.verifier import Verifier
from extproc.clock import system_clock
from extproc.config import Settings
from extproc.policy.rules import Policy
from extproc.request.pipeline import Pipeline
from extproc.signing.targets import TargetTable
from extproc.token_exchange.exchange import ProviderExchange


def rehearse(settings: Settings) -> None:
    """Build what has no threads, connections or open files, and throw it away.

    Python and its libraries prepare much when they use it first. Workers that are forked afterwards share
    that, in place of each preparing its own.
    """
    build_verifier(settings, build_key_stores(settings, system_clock), system_clock)
    # One mapping: a policy of hundreds takes time, and each worker builds its own all the same.
    build_policy(settings.model_copy(update={"role_mappings": settings.role_mappings[:1]}))
    build_targets(settings)
    build_sts(settings, clock=system_clock, on_date=lambda _date: None)


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """Settings, and what was built from them.

    Attributes:
        key_stores: by issuer.
        token_exchanges: by issuer, for those that have one.
        loaded_at: seconds since the epoch.
    """

    settings: Settings
    key_stores: Mapping[str, KeyStore] = field(repr=False)
    verifier: Verifier = field(repr=False)
    policy: Policy = field(repr=False)
    targets: TargetTable = field(repr=False)
    pipeline: Pipeline = field(repr=False)
    token_exchanges: Mapping[str, ProviderExchange] = field(repr=False)
    loaded_at: float

    @property
    def key_files(self) -> dict[str, Path]:
        """The files with keys, by issuer."""
        return {
            issuer.issuer: Path(issuer.jwks_file)
            for issuer in self.settings.issuers
            if issuer.jwks_file and issuer.issuer in self.key_stores
        }


def build(settings: Settings, state: ProcessState, *, before: Snapshot | None = None) -> Snapshot:
    """Build a snapshot. It compiles every rule, so call it in a thread of its own.

    Key stores and token exchanges of issuers that are the same ``before`` are kept.

    Raises:
        ConfigError: a file of a token exchange cannot be used.
    """
    kept = {store.source_key: store for store in before.key_stores.values()} if before else {}
    key_stores = build_key_stores(settings, state.clock, kept, state.metrics.fetched)
    verifier = build_verifier(settings, key_stores, state.clock)
    policy, targets = build_policy(settings), build_targets(settings)
    pipeline = build_pipeline(settings, state.lasting, verifier=verifier, policy=policy, targets=targets)
    exchanges = build_token_exchanges(
        settings,
        clock=state.aws_clock,
        kept=before.token_exchanges if before else {},
        on_outcome=state.metrics.token_exchanged,
        on_refusal=state.metrics.token_exchange_refused,
    )
    return Snapshot(
        settings, key_stores, verifier, policy, targets, pipeline, exchanges, loaded_at=state.clock()
    )
