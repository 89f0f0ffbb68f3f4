"""The methods of the admin API, from its descriptor: for its server, and for its clients."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message_factory import GetMessageClass

from extproc.admin.v1 import admin_pb2

_SERVICE = admin_pb2.DESCRIPTOR.services_by_name["Admin"]
SERVICE: str = _SERVICE.full_name

Method = Callable[[Any, Any], Awaitable[Any]]
"""Receives the request's message and gRPC's context; returns the answer's message."""

MESSAGES = {
    method.name: (GetMessageClass(method.input_type), GetMessageClass(method.output_type))
    for method in _SERVICE.methods
}
"""The classes of each method's request and answer."""


def handlers(servicer: object, wrapped: Callable[[str, Method], Method]) -> grpc.GenericRpcHandler:
    """Return what serves the servicer's methods, each as ``wrapped`` returns it for its name."""
    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            name: grpc.unary_unary_rpc_method_handler(
                wrapped(name, getattr(servicer, name)),
                request_deserializer=request.FromString,
                response_serializer=answer.SerializeToString,
            )
            for name, (request, answer) in MESSAGES.items()
        },
    )


def calls(channel: Any) -> dict[str, Any]:
    """Return the calls of a channel, of gRPC or of grpc.aio, by the methods' names."""
    return {
        name: channel.unary_unary(
            f"/{SERVICE}/{name}",
            request_serializer=request.SerializeToString,
            response_deserializer=answer.FromString,
        )
        for name, (request, answer) in MESSAGES.items()
    }
