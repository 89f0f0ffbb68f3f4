"""Faults of the ext_proc filter, and of a route's overrides of it."""

import re
from collections.abc import Iterator
from typing import Any

from extproc.authn.envoy_jwt import METADATA_NAMESPACE as JWT_NAMESPACE
from extproc.envoyconf.lint_counted import allows, asks_for_trailers, shows_ends, shows_heads
from extproc.envoyconf.lint_document import Node
from extproc.envoyconf.lint_values import Expectations, Finding, is_true, seconds
from extproc.ext_proc.encoding import DECISION_NAMESPACE
from extproc.header_names import ALWAYS_REPLACED, CARRIERS

_BUFFERED = ("BUFFERED", 2)
_CHANGED = (*sorted({*ALWAYS_REPLACED, "content-length", "www-authenticate", CARRIERS[0]}), ":path")
"""Headers that extproc sets or removes; one example of those in patterns and long lists."""


def filter_findings(entry: Node, expectations: Expectations) -> Iterator[Finding]:
    """Yield the findings for the entry in ``http_filters``."""
    config: dict[str, Any] = entry.value["typed_config"]
    path = f"{entry.path}.typed_config"
    if is_true(entry.value.get("is_optional")):
        yield Finding(f"{entry.path}.is_optional", "the filter may not run: requests would go out unsigned")
    yield from _flags(config, path)
    mode = config.get("processing_mode")
    mode = mode if isinstance(mode, dict) else {}
    if allows(config, asks_for_trailers):
        mode = {**mode, "request_trailer_mode": "SEND"}  # extproc asks for it with every "continue"
    yield from _mode(mode, f"{path}.processing_mode", complete=True)
    for position, allowed in enumerate(config.get("allowed_override_modes") or []):
        where = f"{path}.allowed_override_modes[{position}]"
        yield from _mode(allowed if isinstance(allowed, dict) else {}, where, complete=True)
    timeout = config.get("message_timeout")
    waited = seconds(timeout)
    if waited is None or waited < expectations.seconds:
        shown = "missing, so 200 ms" if timeout is None else timeout
        yield Finding(
            f"{path}.message_timeout", f"{shown}: too short for an STS exchange ({expectations.seconds:g}s)"
        )
    if expectations.shows_answers and not is_true(config.get("allow_mode_override")):
        yield Finding(
            f"{path}.allow_mode_override",
            "not true: extproc sees no answer of AWS, and a wrong region or host goes unnoticed",
        )
    if expectations.filtered:
        yield from _filtered_answers(config, path, expectations)
    if expectations.counted and expectations.shows_answers:
        yield from _counted_answers(config, path)
    rules = config.get("mutation_rules")
    if isinstance(rules, dict):
        yield from _rules(rules, f"{path}.mutation_rules")
    yield from _metadata(config, path, expectations)


def _metadata(config: dict[str, Any], path: str, expectations: Expectations) -> Iterator[Finding]:
    options = config.get("metadata_options")
    options = options if isinstance(options, dict) else {}
    for key, namespace, is_needed, without in (
        (
            "receiving_namespaces",
            DECISION_NAMESPACE,
            True,
            "the access log does not show user, role and reason",
        ),
        (
            "forwarding_namespaces",
            JWT_NAMESPACE,
            expectations.verified_by_envoy,
            "extproc does not see which tokens Envoy verified, and refuses all",
        ),
    ):
        namespaces = options.get(key)
        untyped = namespaces.get("untyped") if isinstance(namespaces, dict) else None
        if is_needed and namespace not in (untyped or []):
            yield Finding(
                f"{path}.metadata_options.{key}", f"{without}; write {key}: {{untyped: [{namespace}]}}"
            )


def _counted_answers(config: dict[str, Any], path: str) -> Iterator[Finding]:
    """Yield the finding if no allowed mode has trailers: Envoy then ignores the mode of counted targets."""
    allowed = [mode for mode in config.get("allowed_override_modes") or [] if isinstance(mode, dict)]
    if allowed and not any(map(shows_ends, allowed)):
        yield Finding(
            f"{path}.allowed_override_modes",
            "none with response_trailer_mode SEND: extproc sees no answers of targets that have limits",
        )


def _filtered_answers(config: dict[str, Any], path: str, expectations: Expectations) -> Iterator[Finding]:
    """Yield the finding if Envoy ignores the mode with which extproc asks for lists of tools."""
    allowed = [mode for mode in config.get("allowed_override_modes") or [] if isinstance(mode, dict)]
    bodies = [mode for mode in allowed if mode.get("response_body_mode") in _BUFFERED]
    if not is_true(config.get("allow_mode_override")) or (allowed and not any(map(shows_heads, bodies))):
        yield Finding(
            f"{path}.allowed_override_modes",
            "none with response_header_mode SEND and response_body_mode BUFFERED: lists of tools of "
            f"{', '.join(expectations.filtered)} reach clients unfiltered; render this configuration again",
        )


def _flags(config: dict[str, Any], path: str) -> Iterator[Finding]:
    for key, message in (
        ("failure_mode_allow", "fails open: without an answer the request goes out with its bearer token"),
        ("observability_mode", "extproc's answers are ignored: requests go out with their bearer token"),
        ("disable_immediate_response", "denials become 500s, and clients never learn how to log in"),
    ):
        if is_true(config.get(key)):
            yield Finding(f"{path}.{key}", message)


def _mode(mode: dict[str, Any], path: str, *, complete: bool) -> Iterator[Finding]:
    body = mode.get("request_body_mode", "NONE" if complete else "BUFFERED")
    if body not in ("BUFFERED", 2):
        yield Finding(
            f"{path}.request_body_mode", f"{body}: must be BUFFERED, the signature covers the whole body"
        )
    trailers = mode.get("request_trailer_mode", "SKIP" if complete else "SEND")
    if trailers not in ("SEND", 1):
        yield Finding(
            f"{path}.request_trailer_mode",
            f"{trailers}: must be SEND, or an HTTP/2 request of headers and trailers goes out unsigned",
        )
    if mode.get("request_header_mode") in ("SKIP", 2):
        yield Finding(f"{path}.request_header_mode", "SKIP: extproc never sees the request")


def _rules(rules: dict[str, Any], path: str) -> Iterator[Finding]:
    def refused(name: str) -> bool:
        if _matches(rules.get("disallow_expression"), name):
            return True
        if _matches(rules.get("allow_expression"), name):
            return False
        return is_true(rules.get("disallow_all")) or (
            name[:1] == ":" and is_true(rules.get("disallow_system"))
        )

    names = [name for name in _CHANGED if refused(name)]
    if names:
        yield Finding(path, f"forbid what extproc has to change: {', '.join(names)}")


def _matches(matcher: Any, name: str) -> bool:
    if not isinstance(matcher, dict):
        return False
    try:
        return re.fullmatch(str(matcher.get("regex", "")), name) is not None
    except re.error:
        return False


def per_route_findings(node: Node) -> Iterator[Finding]:
    """Yield the findings for an entry of ``typed_per_filter_config``."""
    per_route = node.kind == "ExtProcPerRoute"
    if node.kind == "FilterConfig" and "ext_proc" in node.path.rpartition("[")[2]:
        per_route = True
    if not per_route:
        return
    if is_true(node.value.get("is_optional")):
        yield Finding(
            f"{node.path}.is_optional", "requests of this route go out unsigned, with their bearer token"
        )
    overrides = node.value.get("overrides")
    if isinstance(overrides, dict):
        yield from _flags(overrides, f"{node.path}.overrides")
        mode = overrides.get("processing_mode")
        if isinstance(mode, dict):
            yield from _mode(mode, f"{node.path}.overrides.processing_mode", complete=True)
