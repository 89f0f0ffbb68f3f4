"""Builds the shared store from the settings."""

from pathlib import Path

import structlog

from extproc.clock import Clock
from extproc.config import Settings
from extproc.extras import how_to_install
from extproc.sessions.revocation import DenyList, Revocation
from extproc.shared_store.keys import SecretError, read_keys
from extproc.shared_store.revocation_entries import SharedRevocation
from extproc.shared_store.store import SharedStore

_log = structlog.get_logger(__name__)


def build_shared_store(
    settings: Settings, *, revocation: Revocation, deny_list: DenyList, clock: Clock
) -> SharedStore | None:
    """Return the shared store, without a connection yet; None if there is none in the settings.

    Raises:
        OSError: the extra "valkey" is not installed, or the server secret cannot be used.
    """
    shared = settings.cache.shared
    if shared is None:
        return None
    try:
        # Imported here: it is optional.
        from extproc.shared_store.client import Address, ValkeyClient  # noqa: PLC0415
    except ImportError as error:
        raise OSError(f"cache.shared needs {error.name}: {how_to_install('valkey')}") from None
    try:
        keys = read_keys(Path(shared.secret_file))
    except SecretError as error:
        raise OSError(f"cache.shared.secret_file: {error}") from None

    def apply(revoked: SharedRevocation) -> None:
        _log.warning(
            "revoked_elsewhere",
            issuer=revoked.selector.issuer,
            subject=revoked.selector.subject,
            jti=revoked.selector.token_id,
            role_arn=revoked.selector.role_arn,
            refused_until=revoked.deny_until,
        )
        if revoked.is_lifted:
            deny_list.remove(revoked.selector)
        try:
            revocation.revoke(revoked.selector, deny_until=revoked.deny_until)
        except ValueError as error:
            _log.error("revocation_not_applied", why=str(error))

    address = Address(
        url=shared.url,
        nodes=tuple(shared.nodes),
        sentinel=shared.sentinel,
        cluster=shared.cluster,
        username=shared.username,
        password_file=shared.password_file,
        ca_file=shared.ca_file,
        certificate=shared.certificate,
        private_key=shared.private_key,
        connections=shared.connections,
    )
    return SharedStore(
        ValkeyClient(address),
        at_once=shared.connections,
        keys=keys,
        apply=apply,
        exchange_site=f"{settings.sts_region} {settings.sts.endpoint_url or ''}",
        margin=settings.cache.margin,
        timeout=shared.timeout,
        prefix=shared.prefix,
        clock=clock,
    )
