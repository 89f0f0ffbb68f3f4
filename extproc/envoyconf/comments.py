"""Comments in the rendered YAML: the reasons for its important settings."""

# Beginnings of lines, with the comment before their first occurrence.
_COMMENTS = {
    "- name: ingress": "Where clients connect.",
    "request_headers_to_remove:":
        "AWS does not get the addresses of the client's network. x-request-id stays, to join logs.",
    "response_headers_to_remove:":
        "The upstream's own challenge would lead clients to another authorization server.",
    "host_rewrite_literal:":
        "The host that is signed. Nothing else may change host, path or signed headers after our filter.",
    "grpc_initial_metadata:": "The target's name for extproc. Clients cannot set a stream's metadata.",
    "local_reply_config:": "MCP clients show JSON-RPC errors only. Denials of extproc keep their own body.",
    "timeout: 0s": "No limit on the whole response: an event stream may last.",
    "- name: envoy.filters.http.cors":
        "Lets the pages of allowed origins read responses; extproc decides whose requests are served.",
    "request_body_buffer_limit:": "Equal to limits.request_body_bytes; Envoy's own default is 1 MiB.",
    "per_connection_buffer_limit_bytes:":
        "Equal to limits.request_body_bytes: it bounds what a filter in a cluster can buffer.",
    "- name: envoy.filters.http.header_to_metadata":
        "Affinity: the end of the token's signature, by which Envoy chooses the instance. No header changes.",
    "load_balancing_policy:":
        "Requests with one token reach one instance. If it is gone, only its users move to others.",
    "- name: envoy.filters.http.ext_proc":
        "extproc. It comes right before the router, so that no filter changes what was signed.",
    "request_body_mode: BUFFERED":
        "The signature covers the whole body. extproc refuses to sign in any other mode.",
    "allow_mode_override: true":
        "observe_upstream: extproc may ask for the head of a response and the body of a short error.",
    "message_timeout:": "Longer than fetching keys and an STS exchange may take; Envoy's default is 200 ms.",
    "retry_policy:": "Another instance of extproc, if one is unreachable; no instance is asked twice.",
    "failure_mode_allow: false": "Without an answer of extproc nothing is forwarded. Must never be true.",
    "mutation_rules:": "Headers that extproc must not change: trying is an error, and nothing is forwarded.",
    "metadata_options:": "Metadata of extproc for the access log.",
    "normalize_path: false": "Paths go upstream unchanged: an encoded slash in an ARN must survive.",
    "- name: extproc": "extproc's gRPC server, with health checks.",
    "tls_certificates:": "Envoy's certificate, which extproc's listen.tls requires.",
    "max_connections:": "Requests wait in extproc, never here: those beyond the limit are refused at once.",
    "response_trailer_mode: SEND": "Keeps the stream as long as the response: extproc counts what is open.",
    "match_typed_subject_alt_names:":
        "The certificate must come from a trusted authority and be for this host exactly.",
    "overload_manager:": "An upper bound on clients' connections, against floods.",
    "admin:": "Envoy's admin interface has no authentication: loopback only.",
}  # fmt: skip


def commented(document: str) -> str:
    """Return the YAML with comments. The same input gives the same output."""
    waiting = dict(_COMMENTS)
    lines = []
    for line in document.splitlines():
        content = line.lstrip(" ")
        bare = content.removeprefix("- ") if not content.startswith("- name: ") else content
        for start in waiting:
            if bare.startswith(start) and (start[-1:] != "c" or bare == start):
                indent = line[: len(line) - len(content)]
                lines.append(f"{indent}# {waiting.pop(start)}")
                break
        lines.append(line)
    return "\n".join(lines) + "\n"
