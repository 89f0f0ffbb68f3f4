"""Affinity: all requests with one token reach one instance, which has that token's session already.

The token's last characters take this way, all of it inside Envoy:

    authorization ─header_to_metadata─▶ dynamic metadata ─initial_metadata─▶ gRPC metadata ─Maglev─▶ instance

Anything but the token itself would let one user's requests spread, or two users' sessions depend on each
other. The whole token must not be copied: gRPC bounds metadata, and copies of secrets are found. So only the
end of its signature is taken. It identifies the token, and is useless without the rest of the signature.
"""

from envoy_data_plane.envoy.config.cluster.v3 import LoadBalancingPolicy, LoadBalancingPolicyPolicy
from envoy_data_plane.envoy.config.core.v3 import HeaderValue, TypedExtensionConfig
from envoy_data_plane.envoy.config.route.v3 import RouteActionHashPolicy, RouteActionHashPolicyHeader
from envoy_data_plane.envoy.extensions.filters.http.header_to_metadata.v3 import (
    Config,
    ConfigKeyValuePair,
    ConfigRule,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.load_balancing_policies.common.v3 import ConsistentHashingLbConfig
from envoy_data_plane.envoy.extensions.load_balancing_policies.maglev.v3 import Maglev
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatchAndSubstitute, RegexMatcher
from envoy_data_plane.google.protobuf import Any

from extproc.grpc_server.service_names import AFFINITY_METADATA

_NAMESPACE, _KEY = "extproc.affinity", "token"
# A signature (RFC 7515 7.1: the third part) has at least 43 characters, for HS256. Of these 16 are taken,
# 96 bits: too many to meet by chance, too few to guess the others. Any other value becomes empty: what a
# pattern does not match would be taken whole.
_END_OF_SIGNATURE = r"^[^.]*\.[^.]*\.[^.]{24,}?([^.]{16})$|^.*$"


def affinity_filter() -> HttpFilter:
    """Return the filter that takes the end of the signature. It precedes extproc's and changes no header."""
    rule = ConfigRule(
        header="authorization",
        on_header_present=ConfigKeyValuePair(
            metadata_namespace=_NAMESPACE,
            key=_KEY,
            regex_value_rewrite=RegexMatchAndSubstitute(
                pattern=RegexMatcher(regex=_END_OF_SIGNATURE), substitution=r"\1"
            ),
        ),
    )
    return HttpFilter(
        name="envoy.filters.http.header_to_metadata",
        typed_config=Any.pack(Config(request_rules=[rule])),
    )


def affinity_metadata() -> HeaderValue:
    """Return the gRPC metadata that carries it to extproc's cluster. Without a token there is none."""
    return HeaderValue(key=AFFINITY_METADATA, value=f"%DYNAMIC_METADATA({_NAMESPACE}:{_KEY})%")


def affinity_balancing() -> LoadBalancingPolicy:
    """Return a consistent hash of that metadata; a request without it goes to any instance.

    The users of an instance that is gone are shared among the others; of other users fewer than 1 % move.
    Envoy's ring has more points for each instance when there are fewer of them, so it moves 10 %.
    """
    maglev = Maglev(
        consistent_hashing_lb_config=ConsistentHashingLbConfig(
            hash_policy=[
                RouteActionHashPolicy(header=RouteActionHashPolicyHeader(header_name=AFFINITY_METADATA))
            ]
        ),
    )
    extension = TypedExtensionConfig(
        name="envoy.load_balancing_policies.maglev", typed_config=Any.pack(maglev)
    )
    return LoadBalancingPolicy(policies=[LoadBalancingPolicyPolicy(typed_extension_config=extension)])
