"""Builds the exchanges of ``issuers[].token_exchange`` from the settings."""

import ssl
from collections.abc import Callable, Hashable, Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path

from extproc.clock import Clock
from extproc.config import ConfigError, Issuer, Settings, TokenExchangeSettings
from extproc.sts.breaker import CircuitBreaker
from extproc.sts.guarded import CallLimits, GuardedCalls
from extproc.sts.https import HttpOrigin
from extproc.token_exchange.client_authentication import (
    ClientAssertion,
    ClientAuthentication,
    ClientSecret,
    PrivateKey,
)
from extproc.token_exchange.endpoint import TokenEndpoint
from extproc.token_exchange.exchange import SERVICE, ProviderExchange
from extproc.token_exchange.files import ClientFileError
from extproc.token_exchange.form import RequestForm

OnOutcome = Callable[[str, str, str, float], None]
"""Gets issuer, outcome, error code and seconds."""


def build_token_exchanges(
    settings: Settings,
    *,
    clock: Clock,
    kept: Mapping[str, ProviderExchange],
    on_outcome: OnOutcome = lambda _issuer, _outcome, _code, _seconds: None,
    on_refusal: Callable[[str, str], None] = lambda _issuer, _cause: None,
) -> dict[str, ProviderExchange]:
    """Return the exchange of each issuer that has one. Reads files: not for the event loop.

    ``kept``: the present ones; those that would not differ stay, with their breakers and connections.

    Raises:
        ConfigError: a file cannot be used.
    """
    found: dict[str, ProviderExchange] = {}
    for position, issuer in enumerate(settings.issuers):
        exchange = issuer.token_exchange
        if exchange is None:
            continue
        source_key = _source_key(issuer, exchange)
        present = kept.get(issuer.issuer)
        if present is not None and present.source_key == source_key:
            found[issuer.issuer] = present
            continue
        limits = settings.sts
        found[issuer.issuer] = ProviderExchange(
            issuer=issuer.issuer,
            endpoint=build_token_endpoint(settings, position, clock),
            calls=GuardedCalls(
                SERVICE,
                breaker=CircuitBreaker(
                    failures=limits.breaker_failures, open_for=limits.breaker_seconds, clock=clock
                ),
                limits=CallLimits(
                    deadline=limits.deadline,
                    workers=limits.workers,
                    max_waiting=limits.max_waiting,
                    max_of_one=limits.max_waiting_per_subject,
                ),
                on_outcome=partial(on_outcome, issuer.issuer),
                on_refusal=partial(on_refusal, issuer.issuer),
            ),
            source_key=source_key,
        )
    return found


def build_token_endpoint(settings: Settings, position: int, clock: Clock) -> TokenEndpoint:
    """Return the token endpoint of one issuer that has an exchange, by its position.

    Raises:
        ConfigError: a file cannot be used.
    """
    issuer = settings.issuers[position]
    exchange = issuer.token_exchange
    if exchange is None:
        raise ValueError(f"{issuer.issuer} has no token_exchange")
    try:
        authentication = _authentication(exchange, clock)
    except ClientFileError as error:
        setting = next(name for name, path in exchange.files if Path(path) == error.path)
        raise ConfigError([f"issuers[{position}].token_exchange.{setting}: {error}"]) from None
    return TokenEndpoint(
        issuer=issuer.issuer,
        url=exchange.token_endpoint,
        allow_http=exchange.insecure_plaintext,
        form=RequestForm(
            grant=exchange.grant,
            audiences=tuple(exchange.audiences),
            resources=tuple(exchange.resources),
            scope=exchange.scopes,
            subject_token_type=exchange.subject_token_type,
            requested_token_type=exchange.requested_token_type,
        ),
        authentication=authentication,
        connect=_Origins(connections=settings.sts.workers),
        timeout=settings.sts.timeout,
    )


class _Origins:
    """Connects to hosts. Reading the certificate authorities takes 30 ms, so the first connection does it."""

    def __init__(self, *, connections: int) -> None:
        self._connections = connections

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context()

    def __call__(self, url: str) -> HttpOrigin:
        return HttpOrigin(url, max_idle=self._connections, tls=lambda: self._tls)


def file_problems(settings: Settings) -> Iterator[str]:
    """Yield a ``path: message`` line for each file of ``token_exchange`` that cannot be used.

    Files in folders that are not on this machine are left out: ``missing_folders`` names them.
    """
    for position, issuer in enumerate(settings.issuers):
        if issuer.token_exchange is not None and not list(_missing(issuer.token_exchange)):
            try:
                build_token_endpoint(settings, position, lambda: 0.0)
            except ConfigError as error:
                yield from error.problems


def check_files(settings: Settings) -> None:
    """Check the files of ``token_exchange`` whose folders are on this machine.

    Raises:
        ConfigError: with a line for each that cannot be used.
    """
    problems = list(file_problems(settings))
    if problems:
        raise ConfigError(problems)


def missing_folders(settings: Settings) -> Iterator[str]:
    """Yield a ``path: message`` line for each file whose folder is not on this machine."""
    for position, issuer in enumerate(settings.issuers):
        for name, folder in _missing(issuer.token_exchange) if issuer.token_exchange else ():
            yield (
                f"issuers[{position}].token_exchange.{name}: {folder} is not on this machine; "
                "its files were not looked at"
            )


def _missing(exchange: TokenExchangeSettings) -> Iterator[tuple[str, Path]]:
    for name, path in exchange.files:
        if not Path(path).parent.is_dir():
            yield name, Path(path).parent


def _source_key(issuer: Issuer, exchange: TokenExchangeSettings) -> Hashable:
    return issuer.issuer, exchange.model_dump_json()


def _authentication(exchange: TokenExchangeSettings, clock: Clock) -> ClientAuthentication:
    client_id = exchange.client_id
    if exchange.client_secret_file is not None:
        in_form = exchange.method == "client_secret_post"
        return ClientSecret(client_id, Path(exchange.client_secret_file), in_form=in_form)
    if exchange.client_assertion_file is not None:
        return ClientAssertion(client_id, Path(exchange.client_assertion_file))
    return PrivateKey(
        client_id,
        Path(exchange.private_key_file or ""),
        clock=clock,
        key_id=exchange.key_id,
        algorithm=exchange.signing_algorithm,
        certificate=Path(exchange.certificate_file) if exchange.certificate_file else None,
        audience=exchange.assertion_audience,
    )
