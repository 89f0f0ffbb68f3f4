"""Our filter as Envoy is to run it: whole requests in, nothing of responses, closed on failure."""

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
from extproc.authn.keys import RefreshPolicy
from extproc.config import Settings, TargetSettings
from extproc.ext_proc.codec import DECISION_NAMESPACE
from extproc.grpc_server.services import TARGET_METADATA

EXT_PROC_FILTER = "envoy.filters.http.ext_proc"
EXTPROC_CLUSTER = "extproc"
_RETRY_AFTER = timedelta(milliseconds=25)
IMMUTABLE_HEADERS = r"host|:authority|:method|:scheme|connection|te|transfer-encoding|upgrade|x-envoy-.+"
"""What we never touch, and Envoy is to refuse of us. An allow-list would have to name the headers of
our own replies to clients too: Envoy applies these rules to both."""

_LOOKS = (
    ProcessingModeBodySendMode.NONE,
    ProcessingModeBodySendMode.BUFFERED,
    ProcessingModeBodySendMode.STREAMED,
)
_MARGIN = 2.0  # seconds that Envoy waits longer than we work at most


def longest_answer(settings: Settings) -> float:
    """Seconds that Envoy has to wait for us: a cold key fetch, an exchange, the target's line, some more."""
    waits = [target.max_wait for target in settings.targets if target.counts_streams]
    return settings.sts.deadline + RefreshPolicy().wait + max(waits, default=0.0) + _MARGIN


def ext_proc_filter(settings: Settings, *, target: TargetSettings | None = None) -> HttpFilter:
    """Our entry of ``http_filters``. In a cluster, the filter itself names the ``target``."""
    observes = settings.observe_upstream != "never"
    processor = ExternalProcessor(
        grpc_service=GrpcService(
            envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=EXTPROC_CLUSTER),
            initial_metadata=[_names(target)] if target else [],
            retry_policy=_another_instance(),
        ),
        message_timeout=timedelta(seconds=longest_answer(settings)),
        failure_mode_allow=False,
        processing_mode=_mode(counts=target is not None and target.counts_streams),
        # An answer's head and the body of a short error, if we ask for them. Nothing about requests changes.
        allow_mode_override=observes,
        allowed_override_modes=[
            _mode(counts=counts, response_body=mode)
            for counts in sorted({target.counts_streams for target in settings.targets})
            for mode in _LOOKS
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
    """Return how Envoy shows us a request, and with ``response_body`` also its answer's head.

    ``counts``: it keeps each stream to the end of its answer. It does so for trailers that may come, and
    only for these; otherwise it ends the stream by itself as soon as the request needs us no more.
    """
    return ProcessingMode(
        request_header_mode=ProcessingModeHeaderSendMode.SEND,
        request_body_mode=ProcessingModeBodySendMode.BUFFERED,
        # An HTTP/2 request may have trailers and no body; without this Envoy would not ask again.
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
    """Another instance or worker, where one could not be reached at all or had begun to drain.

    Not where one went away with a request: what crashes one of us must not be handed to the next.
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
        # Envoy's own default, a second, would make clients wait when all of us are away.
        retry_back_off=BackoffStrategy(base_interval=_RETRY_AFTER, max_interval=10 * _RETRY_AFTER),
        # Least-request balancing likes an instance that is away best, as it has nothing to do.
        host_selection_retry_max_attempts=20,
    )


def _metadata(settings: Settings) -> MetadataOptions:
    """Take ours for the access log; pass on what jwt_authn verified, if we are to trust it."""
    options = MetadataOptions(
        receiving_namespaces=MetadataOptionsMetadataNamespaces(untyped=[DECISION_NAMESPACE])
    )
    if any(issuer.verified_by == "envoy" for issuer in settings.issuers):
        options.forwarding_namespaces = MetadataOptionsMetadataNamespaces(untyped=[JWT_NAMESPACE])
    return options


def names_target(target: TargetSettings) -> ExtProcPerRoute:
    """A route's word to us which target it leads to. Clients cannot set a stream's metadata."""
    overrides = ExtProcOverrides(grpc_initial_metadata=[_names(target)])
    if target.counts_streams:
        overrides.processing_mode = _mode(counts=True)
    return ExtProcPerRoute(overrides=overrides)


def _names(target: TargetSettings) -> HeaderValue:
    return HeaderValue(key=TARGET_METADATA, value=target.name)
