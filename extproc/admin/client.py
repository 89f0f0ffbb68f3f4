"""A client of the admin API, for ``extproc admin``: JSON objects in and out."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import Message

from extproc.admin.methods import calls
from extproc.admin.v1 import admin_pb2

TIMEOUT = 30.0  # seconds; a reload may fetch keys


class CallError(Exception):
    """A call failed; the message says why.

    Attributes:
        refused: whether the server rejected the request as invalid.
    """

    def __init__(self, message: str, *, refused: bool) -> None:
        super().__init__(message)
        self.refused = refused


class AdminClient:
    """Calls the admin API over a channel, and closes the channel on exit."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self._calls = calls(channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()

    def call(self, method: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Call a method and return its answer.

        Fields and answer are JSON objects as in https://protobuf.dev/programming-guides/json.

        Raises:
            CallError: the request is invalid, or there is no answer.
        """
        request = getattr(admin_pb2, f"{method}Request")()
        try:
            ParseDict(dict(fields), request)
            answer = self._calls[method](request, timeout=TIMEOUT)
        except ParseError:
            raise CallError("the request does not fit the admin API's messages", refused=True) from None
        except grpc.RpcError as error:
            refused = error.code() is grpc.StatusCode.INVALID_ARGUMENT
            message = error.details() if refused else f"{error.code().name}: {error.details()}"
            raise CallError(message, refused=refused) from None
        return to_dict(answer)


def to_dict(answer: Message) -> dict[str, Any]:
    """Return an answer as a JSON object."""
    document = MessageToDict(
        answer, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return {name: _with_integers(value) for name, value in document.items()}


def _with_integers(value: Any) -> Any:
    """Turn whole numbers into integers: a Struct has doubles only."""
    if isinstance(value, dict):
        return {name: _with_integers(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_with_integers(member) for member in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
