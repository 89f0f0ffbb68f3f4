"""Envoy's ext_proc filter: it sends whole requests and no responses, and fails closed."""

from datetime import timedelta

from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutationRules
from envoy_data_plane.envoy.config.core.v3 import (
    BackoffStrategy,
    GrpcService,
    GrpcServiceEnvoyGrpc,
    HeaderValue,
    RetryPolicy,
    RetryPolicyRetryHostPredicate,
)
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import (
    ExternalProcessor,
    ExtProcOverrides,
    ExtProcPerRoute,
    MetadataOptions,
    MetadataOptionsMetadataNamespaces,
    ProcessingMode,
    ProcessingModeBodySendMode,
    ProcessingModeHeaderSendMode,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.retry.host.previous_hosts.v3 import PreviousHostsPredicate
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher
from envoy_data_plane.google.protobuf import Any

from extproc.authn.envoy_jwt import METADATA_NAMESPACE as JWT_NAMESPACE
from extproc.config import Settings, TargetSettings
from extproc.envoyconf.affinity import affinity_metadata
from extproc.envoyconf.options import EnvoyOptions
from extproc.ext_proc.encoding import DECISION_NAMESPACE
from extproc.grpc_server.service_names import TARGET_METADATA

EXT_PROC_FILTER = "envoy.filters.http.ext_proc"
EXTPROC_CLUSTER = "extproc"
_RETRY_AFTER = timedelta(milliseconds=25)
IMMUTABLE_HEADERS = r"host|:authority|:method|:scheme|connection|te|transfer-encoding|upgrade|x-envoy-.+"
"""Headers that extproc never changes; Envoy refuses such changes. An allow-list would also have to contain
the headers of extproc's own responses to clients, to which Envoy applies the same rules."""

_RESPONSE_MODES = (
    ProcessingModeBodySendMode.NONE,
    ProcessingModeBodySendMode.BUFFERED,
    ProcessingModeBodySendMode.STREAMED,
)
_MARGIN = 2.0  # seconds that Envoy waits longer than a decision can take


def longest_answer(settings: Settings) -> float:
    """Return how many seconds Envoy must wait: key fetch, exchange, wait for a connection, and a margin."""
    waits = [target.max_wait for target in settings.targets if target.counts_streams]
    return settings.session_deadline + max(waits, default=0.0) + _MARGIN


def ext_proc_filter(
    settings: Settings, options: EnvoyOptions, *, target: TargetSettings | None = None
) -> HttpFilter:
    """Return the entry of ``http_filters``. In a cluster, the filter itself has the name of its target."""
    observes = settings.reads_responses
    processor = ExternalProcessor(
        grpc_service=GrpcService(
            envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=EXTPROC_CLUSTER),
            initial_metadata=[
                *([_target_metadata(target)] if target else []),
                *([affinity_metadata()] if options.has_affinity(settings) else []),
            ],
            retry_policy=_another_instance(),
        ),
        message_timeout=timedelta(seconds=longest_answer(settings)),
        failure_mode_allow=False,
        processing_mode=_mode(counts=target is not None and target.counts_streams),
        # Lets extproc ask for a response's head, and the body of a short error or a list of tools. Requests
        # are not affected.
        allow_mode_override=observes,
        allowed_override_modes=[
            _mode(counts=counts, response_body=mode)
            for counts in sorted({target.counts_streams for target in settings.targets})
            for mode in _RESPONSE_MODES
        ]
        if observes
        else [],
        mutation_rules=HeaderMutationRules(
            disallow_expression=RegexMatcher(regex=IMMUTABLE_HEADERS),
            disallow_is_error=True,
        ),
        metadata_options=_metadata(settings),
    )
    return HttpFilter(name=EXT_PROC_FILTER, typed_config=Any.pack(processor))


def _mode(*, counts: bool, response_body: ProcessingModeBodySendMode | None = None) -> ProcessingMode:
    """Return the parts of a request that Envoy sends and, with ``response_body``, the response's head.

    ``counts``: Envoy keeps each stream to the end of the response, since trailers may come. Otherwise it
    ends the stream as soon as the request is forwarded.
    """
    return ProcessingMode(
        request_header_mode=ProcessingModeHeaderSendMode.SEND,
        request_body_mode=ProcessingModeBodySendMode.BUFFERED,
        # An HTTP/2 request may have trailers and no body. Without this, Envoy would forward it unsigned.
        request_trailer_mode=ProcessingModeHeaderSendMode.SEND,
        response_header_mode=ProcessingModeHeaderSendMode.SKIP
        if response_body is None
        else ProcessingModeHeaderSendMode.SEND,
        response_body_mode=response_body or ProcessingModeBodySendMode.NONE,
        response_trailer_mode=ProcessingModeHeaderSendMode.SEND
        if counts
        else ProcessingModeHeaderSendMode.SKIP,
    )


def _another_instance() -> RetryPolicy:
    """Return retries at another instance or worker if one is unreachable or drains.

    A stream that ends later is not retried: a request that crashes one instance must not reach the next.
    """
    return RetryPolicy(
        retry_on="connect-failure,refused-stream",
        num_retries=3,
        retry_host_predicate=[
            RetryPolicyRetryHostPredicate(
                name="envoy.retry_host_predicates.previous_hosts",
                typed_config=Any.pack(PreviousHostsPredicate()),
            )
        ],
        # Envoy's default, a second, would make clients wait when no instance is reachable.
        retry_back_off=BackoffStrategy(base_interval=_RETRY_AFTER, max_interval=10 * _RETRY_AFTER),
        # Least-request balancing prefers an unreachable instance, since it has no requests.
        host_selection_retry_max_attempts=20,
    )


def _metadata(settings: Settings) -> MetadataOptions:
    """Accept extproc's metadata for the access log; send jwt_authn's for issuers that Envoy verifies."""
    options = MetadataOptions(
        receiving_namespaces=MetadataOptionsMetadataNamespaces(untyped=[DECISION_NAMESPACE])
    )
    if any(issuer.verified_by == "envoy" for issuer in settings.issuers):
        options.forwarding_namespaces = MetadataOptionsMetadataNamespaces(untyped=[JWT_NAMESPACE])
    return options


def target_override(target: TargetSettings) -> ExtProcPerRoute:
    """Return a route's override with the name of its target. Clients cannot set a stream's metadata."""
    overrides = ExtProcOverrides(grpc_initial_metadata=[_target_metadata(target)])
    if target.counts_streams:
        overrides.processing_mode = _mode(counts=True)
    return ExtProcPerRoute(overrides=overrides)


def _target_metadata(target: TargetSettings) -> HeaderValue:
    return HeaderValue(key=TARGET_METADATA, value=target.name)
