"""Print all resources as YAML, each with the reason for it."""

import yaml

from extproc.config import Settings
from extproc.envoy_gateway.admission import admission_policy
from extproc.envoy_gateway.options import GatewayOptions
from extproc.envoy_gateway.resources import (
    Resource,
    backend,
    backend_tls,
    client_policy,
    extension_policy,
    route,
    service_tls,
    traffic_policy,
)

_HEADER = """\
# Resources for Envoy Gateway 1.9, printed by `extproc envoy-gateway`. Apply the admission policy first.
# The Gateway {gateway} must serve nothing else: every route of it needs a token, and is signed.
# Not possible here: x-forwarded-host with the client's host reaches AWS, unsigned.
"""
_CLIENT_CERTIFICATE = """\
# listen.tls.client_ca is set: give Envoy its certificate in the EnvoyProxy of this Gateway
# (spec.backendTLS.clientCertificateRef).
"""
_COMMENTS = {
    "ValidatingAdmissionPolicy":
        "Refuses what would let bearer tokens reach AWS: deletion, failOpen, another target, no body.",
    "ValidatingAdmissionPolicyBinding": "",
    "EnvoyExtensionPolicy":
        "extproc's filter, for the whole Gateway: a new route cannot be without it. It fails closed, and\n"
        "# allowModeOverride lets extproc ask for trailers, which Envoy Gateway cannot configure.",
    "ClientTrafficPolicy":
        "Bodies of over 32 KiB fit. Paths go upstream unchanged: an encoded slash in an ARN must survive.",
    "BackendTrafficPolicy": "More than 1,024 requests and event streams at a time.",
    "HTTPRoute":
        "The host that is signed, no addresses of your network for AWS, no challenge of AWS for clients,\n"
        "# and no time limit on event streams.",
    "Backend": "",
    "BackendTLSPolicy": "The certificate must come from a trusted authority and be for this host exactly.",
}  # fmt: skip


def resources(settings: Settings, options: GatewayOptions) -> list[Resource]:
    """Return all resources, in the order in which they are safe to apply."""
    to_targets = [each(target, options) for target in settings.targets for each in (backend, backend_tls)]
    found = [
        *admission_policy(options),
        service_tls(settings, options),
        extension_policy(settings, options),
        client_policy(settings, options),
        traffic_policy(options),
        *to_targets,
        route(settings, options),
    ]
    return [each for each in found if each is not None]


def render(settings: Settings, options: GatewayOptions) -> str:
    """Return the resources as a stream of YAML documents."""
    header = _HEADER.format(gateway=options.gateway)
    if settings.listen.tls is not None and settings.listen.tls.client_ca is not None:
        header += _CLIENT_CERTIFICATE
    documents = []
    for each in resources(settings, options):
        comment = _COMMENTS[each["kind"]]
        text = yaml.dump(each, Dumper=_Dumper, sort_keys=False, width=110)
        documents.append((f"# {comment}\n" if comment else "") + text)
    return header + "---\n" + "---\n".join(documents)


class _Dumper(yaml.SafeDumper):
    """Writes equal lists out each time: kubectl reads anchors, people do not."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - the interface of PyYAML
        return True
