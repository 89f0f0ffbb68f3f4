"""Streams driven message by message, as the transport drives them."""

import inspect

from extproc.request.stream import Stream
from support.envoy_messages import Seen


async def step(stream, message):
    """Hand over one message; returns the answer, awaited if need be."""
    answer = stream.receive(message)
    return await answer if inspect.isawaitable(answer) else answer


async def answers_to(parts, *messages, target_name=None):
    """Hand messages to a new stream until its last answer; returns all answers."""
    stream, found = Stream(parts.pipeline, target_name=target_name), []
    for message in messages:
        found.append(await step(stream, message))
        if found[-1].last:
            break
    stream.close()
    return found


async def drive(parts, *messages, target_name=None):
    """As ``answers_to``; returns what Envoy sees."""
    return [Seen(answer.message) for answer in await answers_to(parts, *messages, target_name=target_name)]
