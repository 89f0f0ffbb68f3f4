"""What Envoy Gateway says about extproc's policy: a route without the policy would send bearer tokens to AWS.

The shape of the status: https://gateway-api.sigs.k8s.io/reference/api-spec/main/spec/#policyancestorstatus
"""

from collections.abc import Iterable

from extproc.controller.kinds import Object, metadata, name_of
from extproc.envoy_gateway.resources import POLICY_NAME


def is_accepted(policy: Object) -> bool:
    """Return whether Envoy Gateway has accepted this generation of a policy, for whole Gateways."""
    return refusal(policy) is None and any(
        each.get("type") == "Accepted" and each.get("status") == "True" for each in _conditions(policy)
    )


def refusal(policy: Object) -> str | None:
    """Return why Envoy Gateway says that a policy has no effect; None if it does not say so.

    It refuses a second policy of one Gateway, and lets policies of listeners and routes replace it.
    """
    for each in _conditions(policy):
        refused = each.get("type") == "Accepted" and each.get("status") == "False"
        replaced = each.get("type") == "Overridden" and each.get("status") == "True"
        if refused or replaced:
            return str(each.get("message") or each.get("reason"))
    return None


def rival(policies: Iterable[Object], gateway: str) -> str | None:
    """Return why one of a namespace's other policies may replace extproc's; None if none of them can.

    As in the admission policy. Envoy Gateway says it only while there is a route, which then leaks.
    """
    for policy in policies:
        spec = policy.get("spec") or {}
        targets = [
            *(spec.get("targetRefs") or []),
            *(spec.get("targetSelectors") or []),
            *filter(None, [spec.get("targetRef")]),
        ]
        is_merged = spec.get("mergeType") and "extProc" not in spec
        elsewhere = all(
            each.get("kind") == "Gateway" and each.get("name", gateway) != gateway for each in targets
        )
        if name_of(policy) != POLICY_NAME and not is_merged and not elsewhere:
            return f"EnvoyExtensionPolicy {name_of(policy)} may replace it"
    return None


def _conditions(policy: Object) -> list[Object]:
    """Return the conditions of a policy's present generation."""
    generation = metadata(policy).get("generation")
    status = policy.get("status")
    ancestors = status.get("ancestors") if isinstance(status, dict) else None
    return [
        each
        for ancestor in ancestors or []
        for each in ancestor.get("conditions") or []
        if each.get("observedGeneration", generation) == generation
    ]
