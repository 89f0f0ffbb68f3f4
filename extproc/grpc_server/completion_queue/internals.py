"""Private parts of grpcio that this engine uses, and a check that they exist.

grpcio's own Python server is built on them, and they have not changed for years. A new version may change
them, so only tested versions are used.
"""

import re

import grpc
from grpc._cython import cygrpc

TESTED = ((1, 74), (1, 90))
"""The first version of grpcio that is used and the first that is not."""

USED = {
    "Server": ("register_completion_queue", "add_http2_port", "register_method", "start", "request_call",
               "request_registered_call", "shutdown", "cancel_all_calls", "destroy"),
    "CompletionQueue": ("poll", "shutdown"),
    "CompletionType": ("queue_shutdown",),
    "StatusCode": ("ok", "aborted", "permission_denied", "unimplemented", "not_found", "unavailable",
                   "invalid_argument"),
    "SendInitialMetadataOperation": (),
    "SendMessageOperation": (),
    "SendStatusFromServerOperation": (),
    "ReceiveMessageOperation": ("message",),
    "ReceiveCloseOnServerOperation": ("cancelled",),
    "RequestCallEvent": ("call", "call_details", "invocation_metadata", "success", "tag"),
    "BatchOperationEvent": ("batch_operations", "success", "tag"),
    "auth_context": (),
}  # fmt: skip


def missing() -> str | None:
    """Return why the engine cannot run with the installed grpcio, or None if it can."""
    version = re.match(r"(\d+)\.(\d+)", grpc.__version__)
    if version is None or not TESTED[0] <= (int(version[1]), int(version[2])) < TESTED[1]:
        return f"grpcio {grpc.__version__} is not one of the versions it was tested with"
    for name, attributes in USED.items():
        part = getattr(cygrpc, name, None)
        for attribute in ("__name__", *attributes):
            if not hasattr(part, attribute):
                return f"grpcio {grpc.__version__} has no cygrpc.{name}.{attribute}"
    try:
        # Without a network: make a server, and operations as they are used.
        cygrpc.Server((), False).register_completion_queue(cygrpc.CompletionQueue())  # noqa: FBT003
        cygrpc.SendStatusFromServerOperation(None, cygrpc.StatusCode.ok, b"", 0)
        cygrpc.SendInitialMetadataOperation(None, 0)
        cygrpc.SendMessageOperation(b"", 0)
        cygrpc.ReceiveMessageOperation(0)
        cygrpc.ReceiveCloseOnServerOperation(0)
    except Exception as error:  # noqa: BLE001 - the other engine runs in any case
        return f"grpcio {grpc.__version__} behaves differently: {type(error).__name__}"
    return None
