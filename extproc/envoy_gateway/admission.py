"""A ValidatingAdmissionPolicy: refuses changes after which bearer tokens would reach AWS.

https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/
"""

from extproc.envoy_gateway.options import GatewayOptions
from extproc.envoy_gateway.resources import ENVOY_GATEWAY, POLICY_NAME, Resource

REMOVABLE = "extproc/removable"
"""The annotation that lets the policy be deleted."""


def admission_policy(options: GatewayOptions) -> list[Resource]:
    """Return the policy and its binding to the namespace. Both are of the whole cluster."""
    name = f"extproc-{options.namespace}-{options.gateway}"[:63].rstrip("-")
    ours = f"variables.before.metadata.name == '{POLICY_NAME}'"
    calls = (
        "object.spec.?extProc.orValue([]).exists(p, "
        f"p.?backendRefs.orValue([]).exists(b, b.name == '{options.service}'))"
    )
    of_gateway = (
        "object.spec.?targetRefs.orValue([]).exists(t, "
        f"t.kind == 'Gateway' && t.name == '{options.gateway}' && !has(t.sectionName))"
    )
    # Selectors have no name, and may mean this Gateway.
    of_another = f"t.kind == 'Gateway' && t.?name.orValue('{options.gateway}') != '{options.gateway}'"
    each = "object.spec.?extProc.orValue([]).all(p, "
    targets = (
        "(object.spec.?targetRefs.orValue([]) + object.spec.?targetSelectors.orValue([]) + "
        "(has(object.spec.targetRef) ? [object.spec.targetRef] : []))"
    )
    validations = {
        f"!variables.deletes || !variables.ours || '{REMOVABLE}' in "
        "oldObject.metadata.?annotations.orValue({})":
            "without this policy bearer tokens reach AWS: remove the routes first, then annotate it with "
            f"{REMOVABLE}",
        f"variables.deletes || !variables.ours || (variables.calls && {of_gateway})":
            f"must call {options.service} for the whole Gateway {options.gateway}: a route without it sends "
            "bearer tokens to AWS",
        f"!variables.calls || {each}!p.?failOpen.orValue(false))":
            "failOpen: bearer tokens would reach AWS whenever extproc is away",
        f"!variables.calls || {each}has(p.messageTimeout))":
            "messageTimeout is missing: 200 ms are too short for STS",
        f"!variables.calls || {each}p.?processingMode.?request.?body.orValue('') == 'Buffered' && "
        "p.?processingMode.?allowModeOverride.orValue(false))":
            "processingMode must have request.body Buffered and allowModeOverride true: other requests would "
            "leave unsigned",
        # It takes the place of the Gateway's for a route, a listener or, if it is older, for all; or, if it
        # is merged, that of the Gateway's list.
        "variables.deletes || variables.ours || (has(object.spec.mergeType) && !has(object.spec.extProc)) || "
        f"{targets}.all(t, {of_another})":
            f"a policy of a route, of the Gateway {options.gateway} or of its listeners replaces extproc's: "
            "set mergeType, and no extProc",
    }  # fmt: skip
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "resourceRules": [
                {
                    "apiGroups": [ENVOY_GATEWAY],
                    "apiVersions": ["*"],
                    "operations": ["CREATE", "UPDATE", "DELETE"],
                    "resources": ["envoyextensionpolicies"],
                }
            ]
        },
        "variables": [
            {"name": "deletes", "expression": "request.operation == 'DELETE'"},
            {"name": "before", "expression": "variables.deletes ? oldObject : object"},
            {"name": "ours", "expression": ours},
            {"name": "calls", "expression": f"!variables.deletes && {calls}"},
        ],
        "validations": [
            {"expression": expression, "message": message} for expression, message in validations.items()
        ],
    }
    api = "admissionregistration.k8s.io/v1"
    selector = {"matchLabels": {"kubernetes.io/metadata.name": options.namespace}}
    return [
        {"apiVersion": api, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name}, "spec": spec},
        {
            "apiVersion": api,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {
                "policyName": name,
                "validationActions": ["Deny"],
                "matchResources": {"namespaceSelector": selector},
            },
        },
    ]
