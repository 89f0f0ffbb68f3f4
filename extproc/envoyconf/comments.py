"""Comments for the rendered YAML: why the important blocks are as they are."""

# The start of a line and what to say before its first occurrence.
_COMMENTS = [
    ("- name: ingress", "Where clients connect."),
    (
        "request_headers_to_remove:",
        "Kept from AWS: whose network this is. x-request-id goes on, to join logs with.",
    ),
    (
        "response_headers_to_remove:",
        "The upstream's own challenge would lead clients to another authorization server.",
    ),
    (
        "host_rewrite_literal:",
        "The host that is signed. Nothing else may change host, path or signed headers after our filter.",
    ),
    ("grpc_initial_metadata:", "Tells extproc the target. Clients cannot set a stream's metadata."),
    (
        "local_reply_config:",
        "MCP clients show JSON-RPC errors only. What extproc denies has its own body, and keeps it.",
    ),
    ("timeout: 0s", "No limit on the whole answer: an event stream may last."),
    (
        "- name: envoy.filters.http.cors",
        "Lets the pages of allowed origins read answers; whose requests are served, extproc decides.",
    ),
    ("request_body_buffer_limit:", "Equal to limits.request_body_bytes; Envoy's own default is 1 MiB."),
    (
        "per_connection_buffer_limit_bytes:",
        "Equal to limits.request_body_bytes: it bounds what a filter in a cluster can buffer.",
    ),
    (
        "- name: envoy.filters.http.ext_proc",
        "extproc. It comes right before the router, so that nothing changes what was signed.",
    ),
    (
        "request_body_mode: BUFFERED",
        "The signature covers the whole body. extproc refuses to sign in any other mode.",
    ),
    (
        "allow_mode_override: true",
        "observe_upstream: answers' heads, short errors' bodies, if asked for. Requests stay as they are.",
    ),
    (
        "message_timeout:",
        "Longer than fetching keys and an STS exchange may take; Envoy's default is 200 ms.",
    ),
    (
        "retry_policy:",
        "Asks another instance of extproc where one cannot be reached; nothing is asked twice.",
    ),
    ("failure_mode_allow: false", "Without an answer of extproc nothing is forwarded. Never true."),
    (
        "mutation_rules:",
        "What extproc has no business with; trying it is an error, and nothing is forwarded.",
    ),
    ("metadata_options:", "Metadata that extproc hands over for the access log."),
    ("normalize_path: false", "Paths go upstream as they came: an encoded slash in an ARN must survive."),
    ("- name: extproc", "extproc's gRPC server, with its health checked."),
    ("tls_certificates:", "Who Envoy is: extproc's listen.tls asks for it."),
    (
        "max_connections:",
        "Requests wait in extproc, never here: those beyond the limit are refused at once.",
    ),
    ("response_trailer_mode: SEND", "Keeps the stream as long as the response: extproc counts what is open."),
    (
        "match_typed_subject_alt_names:",
        "The certificate must be of a known authority and for exactly this host.",
    ),
    ("overload_manager:", "An upper bound on clients' connections; a flood ends here."),
    ("admin:", "Envoy's admin interface has no authentication: loopback only."),
]


def commented(document: str) -> str:
    """The YAML text with comments; the same text, the same comments."""
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
