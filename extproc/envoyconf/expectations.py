"""What the lint expects of Envoy for a configuration of extproc."""

from extproc.config import Settings
from extproc.envoyconf.ext_proc import longest_answer
from extproc.envoyconf.lint_values import Expectations


def expectations_of(settings: Settings) -> Expectations:
    """Return the requirements of the settings on Envoy."""
    return Expectations(
        seconds=longest_answer(settings),
        body_bytes=settings.limits.request_body_bytes,
        hosts=frozenset(target.host for target in settings.targets),
        private_network=settings.listen.insecure_plaintext,
        shows_answers=settings.reads_responses,
        filtered=tuple(target.name for target in settings.targets if target.filter_tools_list),
        server_tls=settings.listen.tls is not None,
        client_certificate=settings.listen.tls is not None and settings.listen.tls.client_ca is not None,
        verified_by_envoy=any(issuer.verified_by == "envoy" for issuer in settings.issuers),
        counted={target.name: target.host for target in settings.targets if target.counts_streams},
    )
