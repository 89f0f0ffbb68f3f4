"""A call of the completion queue engine ends once, with a status that is not OK unless its answer was sent."""

from unittest.mock import Mock

import pytest

from extproc.grpc_server.completion_queue.calls import NO_ANSWER, OK, Call, RefusedCall

REFUSED = (7, b"client not allowed")


class FakeCall:
    """gRPC's side: keeps the names of the operations that were begun."""

    def __init__(self):
        self.batches = []

    def start_server_batch(self, operations, tag):
        self.batches.append([type(operation).__name__ for operation in operations])
        self.tag = tag

    @property
    def statuses(self):
        return sum("SendStatusFromServerOperation" in batch for batch in self.batches)


def arrived(message):
    return Mock(batch_operations=[Mock(message=lambda: message)])


def test_a_call_ends_once():
    fake = FakeCall()
    call = Call(fake)
    call.end(OK, b"answer")
    call.end(NO_ANSWER)
    assert fake.statuses == 1
    assert fake.batches[0][:2] == ["SendInitialMetadataOperation", "SendMessageOperation"]


def test_what_is_done_with_a_message_and_fails_ends_the_call_without_an_answer():
    fake = FakeCall()
    call = Call(fake)  # does nothing with messages
    call._arrived(arrived(b"message"))
    assert fake.statuses == 1


def test_after_a_message_the_next_one_is_waited_for_unless_something_else_follows():
    fake = FakeCall()
    call = Call(fake)
    call.send(b"one")
    assert "ReceiveMessageOperation" in fake.batches[-1]
    call.send(b"two", then=print)
    assert fake.batches[-1] == ["SendMessageOperation"]
    assert fake.tag is print


@pytest.mark.parametrize("message", [b"message", None], ids=["a message", "half-closed"])
def test_a_refused_call_ends_once_its_client_has_written_or_will_not_write(message):
    fake = FakeCall()
    RefusedCall(fake, REFUSED).receive()
    assert fake.statuses == 0
    fake.tag(arrived(message))
    assert fake.statuses == 1
