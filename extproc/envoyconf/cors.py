"""CORS headers on all responses to allowed web pages: those of the upstream, extproc and Envoy.

Envoy's filter answers preflights of allowed origins. Others reach extproc and are refused there, so that
the origin check does not depend on this filter. https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from envoy_data_plane.envoy.config.core.v3 import RuntimeFractionalPercent
from envoy_data_plane.envoy.extensions.filters.http.cors.v3 import Cors, CorsPolicy
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.envoy.type.v3 import FractionalPercent, FractionalPercentDenominatorType
from envoy_data_plane.google.protobuf import Any

from extproc.authn.origin import EXPOSED, METHODS, PREFLIGHT_LIFETIME, REQUEST_HEADERS
from extproc.config import Settings

CORS_FILTER = "envoy.filters.http.cors"
_ALWAYS = RuntimeFractionalPercent(
    default_value=FractionalPercent(numerator=100, denominator=FractionalPercentDenominatorType.HUNDRED)
)


def cors_filter() -> HttpFilter:
    """Return the filter, which does nothing where no policy applies. It comes first."""
    return HttpFilter(name=CORS_FILTER, typed_config=Any.pack(Cors()))


def cors_policy(settings: Settings) -> CorsPolicy:
    """Return the policy of all routes: ``allowed_origins`` and the resource's own."""
    token_headers = {issuer.sts_token_header for issuer in settings.issuers if issuer.sts_token_header}
    # The wildcard is for headers that tools define (Mcp-Param-*); it never includes authorization.
    headers = [*REQUEST_HEADERS, *sorted(token_headers), "*"]
    return CorsPolicy(
        filter_enabled=_ALWAYS,
        allow_origin_string_match=[StringMatcher(exact=origin) for origin in settings.origins],
        allow_methods=METHODS,
        allow_headers=", ".join(headers),
        expose_headers=EXPOSED,
        max_age=PREFLIGHT_LIFETIME,
        allow_credentials=False,
    )
