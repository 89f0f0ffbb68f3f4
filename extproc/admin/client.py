"""The client's side, for ``extproc admin``: JSON objects in and out, errors in words."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError

from extproc.admin.v1 import admin_pb2, admin_pb2_grpc

ANSWER_WITHIN = 30.0  # seconds; a reload may fetch keys


class CallError(Exception):
    """A call failed; the message says why. ``refused``: the request itself was at fault."""

    def __init__(self, message: str, *, refused: bool) -> None:
        super().__init__(message)
        self.refused = refused


class AdminClient:
    """Calls the admin API over a channel, which it closes in the end."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self._stub = admin_pb2_grpc.AdminStub(channel)  # type: ignore[no-untyped-call]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()

    def call(self, method: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """A method's answer, as https://protobuf.dev/programming-guides/json says; so are the fields.

        Raises:
            CallError: there is none.
        """
        request = getattr(admin_pb2, f"{method}Request")()
        try:
            ParseDict(dict(fields), request)
            answer = getattr(self._stub, method)(request, timeout=ANSWER_WITHIN)
        except ParseError:
            raise CallError("the request cannot be told in the admin API's terms", refused=True) from None
        except grpc.RpcError as error:
            refused = error.code() is grpc.StatusCode.INVALID_ARGUMENT
            message = error.details() if refused else f"{error.code().name}: {error.details()}"
            raise CallError(message, refused=refused) from None
        document = MessageToDict(
            answer, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        return {name: _with_integers(value) for name, value in document.items()}


def _with_integers(value: Any) -> Any:
    """A Struct knows doubles only; we send whole ones for integers."""
    if isinstance(value, dict):
        return {name: _with_integers(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_with_integers(member) for member in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
