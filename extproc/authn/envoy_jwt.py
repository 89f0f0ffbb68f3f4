"""Tokens that Envoy's jwt_authn filter verified, and whose claims it passed on.

The claims arrive as a protobuf Struct beside the request, where clients cannot write. All of them must
equal those of the bearer token: jwt_authn may have verified a token that it found elsewhere, while the
bearer token goes to STS and its claims to the policy.

All numbers in a Struct are doubles, so integers that a double cannot hold are refused.
https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/filters/http/jwt_authn/v3/config.proto
"""

from collections.abc import Mapping

from extproc.errors import Denied, Reason

METADATA_NAMESPACE = "envoy.filters.http.jwt_authn"
PAYLOAD_KEY = "jwt_payload"
"""The ``payload_in_metadata`` of every jwt_authn provider that is trusted."""

MAX_EXACT = 2**53  # integers up to here are exact as doubles


def check_same_token(claims: Mapping[str, object], jwt_payload: Mapping[str, object] | None) -> None:
    """Check that Envoy verified exactly these claims.

    Raises:
        Denied: ``ENVOY_UNVERIFIED``.
    """
    if jwt_payload is None:
        raise Denied(Reason.ENVOY_UNVERIFIED, "jwt_authn passed no verified token on")
    if not is_same_token(claims, jwt_payload):
        raise Denied(Reason.ENVOY_UNVERIFIED, "jwt_authn verified another token, or one with unsafe numbers")


def is_same_token(claims: Mapping[str, object], jwt_payload: Mapping[str, object]) -> bool:
    """Return whether the members of a Struct equal the claims. ``claims`` is bounded in depth."""
    return claims.keys() == jwt_payload.keys() and all(
        _same(value, jwt_payload[name]) for name, value in claims.items()
    )


def _same(value: object, seen: object) -> bool:
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return type(value) is type(seen) and value == seen
    if isinstance(value, int):
        return isinstance(seen, float) and abs(value) <= MAX_EXACT and seen == value
    if isinstance(value, float):
        return isinstance(seen, float) and seen == value
    if isinstance(value, list):
        return (
            isinstance(seen, list)
            and len(value) == len(seen)
            and all(_same(element, other) for element, other in zip(value, seen, strict=True))
        )
    return isinstance(value, dict) and isinstance(seen, dict) and is_same_token(value, seen)
