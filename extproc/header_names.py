"""Names of headers, in lower case, by what may become of them. Each list stands here and nowhere else.

``signing.headers`` decides what a target does with them. A name that ends in ``*`` is a pattern.
"""

CREDENTIALS = frozenset({"authorization", "cookie", "proxy-authorization"})
"""Credentials for the gateway: no rule reads them, no upstream gets them."""

ALWAYS_REPLACED = CREDENTIALS | {"date", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"}
"""Taken off a request, or replaced by the headers of the signature."""

ALWAYS_SIGNED = frozenset({"content-type", "host"})
"""Signed wherever a request has them."""

REFUSED = frozenset(
    {
        # Parts of a signature, which only the signer writes.
        "x-amz-algorithm", "x-amz-credential", "x-amz-expires", "x-amz-region-set", "x-amz-signature",
        "x-amz-signedheaders",
        # Credentials of other kinds.
        "workloadaccesstoken", "x-amz-bearer", "x-amz-s3session-token", "x-amz-sso_bearer_token",
        "x-amzn-bedrock-agentcore-runtime-workload-accesstoken", "x-amzn-sagemaker-customer-identity-token",
        # Would let a client act for another user, or turn the signed method into another one.
        "x-amzn-bedrock-agentcore-runtime-user-id",
        "x-http-method", "x-http-method-override", "x-method-override",
    }
)  # fmt: skip
"""Refused whatever ``sign_headers`` says; ``withhold_headers`` may have them dropped instead."""

NAMES_A_USER = ("x-amz-chime-bearer", "x-amzn-bedrock-agentcore-payments-user-id")
"""API parameters that name the user of a call: refused unless ``sign_headers`` names them."""

SET_BY_PROXIES = (
    "x-amzn-lattice-*", "x-amzn-mtls-*", "x-amzn-oidc-*", "x-amzn-tls-*", "x-amzn-vpc-id", "x-amzn-vpce-*",
)  # fmt: skip
"""Written by AWS's load balancers about the connection or its user: withheld. An upstream that trusts them
must not get them from a client, and a load balancer before Envoy adds them to every request."""

CARRIERS = (
    # oauth2-proxy, nginx and Traefik; Azure App Service; Cloudflare, Google and Pomerium; and custom.
    "x-forwarded-access-token", "x-forwarded-authorization", "x-forwarded-id-token",
    "x-auth-request-access-token", "x-auth-request-id-token", "x-original-authorization",
    "x-ms-token-*",
    "cf-access-jwt-assertion", "x-goog-iap-jwt-assertion", "x-pomerium-jwt-assertion",
    "x-access-token", "x-auth-token", "x-authorization", "x-bearer-token", "x-id-token", "x-jwt-assertion",
)  # fmt: skip
"""Where proxies and login pages put a user's tokens: withheld unless ``sign_headers`` names them.
A copy of the request's own token is withheld from every header (``authn.copies``)."""

ENDS_HERE = ("expect", "trailer")
"""About this hop: Envoy answers ``100-continue`` itself and hides the header, and trailers do not go on."""

CHECKED_HERE = ("origin",)
"""Taken off unless ``sign_headers`` names it: the gateway decides which web pages may call. MCP servers
behind it check the origin too, and know none of its pages."""

FRAMING = frozenset({"connection", "content-length", "host", "te", "transfer-encoding", "upgrade"})
"""How Envoy forwards the message. Envoy lets no filter remove them, nor any ``x-envoy-*``."""

ENVOY_PREFIX = "x-envoy-"

FORWARDED_UNSIGNED = frozenset({"x-amzn-requestid", "x-amzn-request-id", "x-amzn-trace-id"})
"""Changed on the way: forwarded without a signature, as AWS's SDKs do."""

CHANGED_ON_THE_WAY = (FRAMING - ALWAYS_SIGNED) | {
    "b3", "baggage", "expect", "forwarded", "keep-alive", "proxy-connection", "traceparent", "tracestate",
    "trailer", "user-agent", "via", "x-request-id",
}  # fmt: skip
"""Set or changed by proxies, so that a signature over them would break."""

CHANGED_PREFIXES = ("x-b3-", ENVOY_PREFIX, "x-forwarded-")
"""The same, by how the names begin."""

AWS_PREFIXES = ("x-amz-", "x-amzn-")
"""Headers that services of AWS act on."""


def matches(pattern: str, name: str) -> bool:
    """Return whether a header's name is the pattern, or begins as a pattern like ``x-amz-meta-*`` says."""
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern
