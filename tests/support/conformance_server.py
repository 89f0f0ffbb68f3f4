"""What the official conformance suite asks of a server, by the Python SDK; in the open, and behind the SigV4 check.

``python -m support.conformance_server OPEN_PORT SIGNED_PORT STS_URL``. Both ports lead to the same server, so that
what differs between them is the gateway's doing.
"""

import asyncio
import base64
import json
import struct
import sys
import zlib

import httpx2
import mcp_types as types
import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp.server.streamable_http import EventMessage, EventStore
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel, Field

from extproc.demo.mcp_server import CredentialLookup, SignatureGate, UpstreamSettings
from extproc.demo.request_log import RequestLog
from extproc.demo.settings import SIGNING_HOST


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


PNG = base64.b64encode(  # one red pixel
    b"\x89PNG\r\n\x1a\n"
    + _chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    + _chunk(b"IDAT", zlib.compress(b"\0\xff\0\0"))
    + _chunk(b"IEND", b"")
).decode()
WAV = base64.b64encode(  # no sample
    b"RIFF"
    + struct.pack("<I", 36)
    + b"WAVEfmt "
    + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 8)
    + b"data\0\0\0\0"
).decode()
IMAGE = types.ImageContent(type="image", data=PNG, mime_type="image/png")

server = MCPServer("conformance", version="1.0.0")


def _text(text: str) -> types.TextContent:
    return types.TextContent(type="text", text=text)


def _embedded(uri: str, text: str, mime_type: str = "text/plain") -> types.EmbeddedResource:
    contents = types.TextResourceContents(uri=uri, mime_type=mime_type, text=text)
    return types.EmbeddedResource(type="resource", resource=contents)


@server.tool(structured_output=False)
def test_simple_text() -> str:
    """Return text."""
    return "This is a simple text response for testing."


@server.tool(structured_output=False)
def test_image_content() -> list[types.ImageContent]:
    """Return an image."""
    return [IMAGE]


@server.tool(structured_output=False)
def test_audio_content() -> list[types.AudioContent]:
    """Return a sound."""
    return [types.AudioContent(type="audio", data=WAV, mime_type="audio/wav")]


@server.tool(structured_output=False)
def test_embedded_resource() -> list[types.EmbeddedResource]:
    """Return a resource."""
    return [_embedded("test://embedded-resource", "This is an embedded resource content.")]


@server.tool(structured_output=False)
def test_multiple_content_types() -> list[types.ContentBlock]:
    """Return text, an image and a resource."""
    data = json.dumps({"test": "data", "value": 123})
    return [
        _text("Multiple content types test:"),
        IMAGE,
        _embedded("test://mixed-content-resource", data, "application/json"),
    ]


@server.tool(structured_output=False)
async def test_tool_with_logging(ctx: Context) -> str:
    """Log while working."""
    for message in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await ctx.info(message)
        await asyncio.sleep(0.05)
    return "logged"


@server.tool(structured_output=False)
async def test_tool_with_progress(ctx: Context) -> str:
    """Report progress while working."""
    for progress in (0, 50, 100):
        await ctx.report_progress(progress, 100)
        await asyncio.sleep(0.05)
    return "done"


@server.tool(structured_output=False)
def test_error_handling() -> str:
    """Fail always."""
    raise ValueError("This tool intentionally returns an error for testing")


@server.tool(structured_output=False)
async def test_reconnection(ctx: Context) -> str:
    """Close the stream, so that the client comes back for the rest."""
    await ctx.close_sse_stream()
    await asyncio.sleep(0.1)
    return "Reconnection test completed"


@server.tool(structured_output=False)
async def test_sampling(prompt: str, ctx: Context) -> str:
    """Ask the client's model."""
    result = await ctx.session.create_message(
        messages=[types.SamplingMessage(role="user", content=_text(prompt))],
        max_tokens=100,
        related_request_id=ctx.request_id,
    )
    return f"LLM response: {result.content.text}"


class User(BaseModel):
    username: str = Field(description="User's response")
    email: str = Field(description="User's email address")


class Defaults(BaseModel):
    name: str = "John Doe"
    age: int = 30
    score: float = 95.5
    status: str = Field(default="active", json_schema_extra={"enum": ["active", "inactive", "pending"]})
    verified: bool = True


@server.tool(structured_output=False)
async def test_elicitation(message: str, ctx: Context) -> str:
    """Ask the user."""
    result = await ctx.elicit(message, User)
    return f"User response: {result.action}"


@server.tool(structured_output=False)
async def test_elicitation_sep1034_defaults(ctx: Context) -> str:
    """Ask the user, with defaults."""
    result = await ctx.elicit("Defaults?", Defaults)
    return f"Elicitation completed: action={result.action}"


@server.tool(structured_output=False)
async def test_elicitation_sep1330_enums(ctx: Context) -> str:
    """Ask the user for choices of each kind."""
    one, two = (
        ["option1", "option2", "option3"],
        [
            {"const": f"value{n}", "title": f"{name} Option"}
            for n, name in ((1, "First"), (2, "Second"), (3, "Third"))
        ],
    )
    names = ["Option One", "Option Two", "Option Three"]
    properties = {
        "untitledSingle": {"type": "string", "enum": one},
        "titledSingle": {"type": "string", "oneOf": two},
        "legacyEnum": {"type": "string", "enum": ["opt1", "opt2", "opt3"], "enumNames": names},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": one}},
        "titledMulti": {"type": "array", "items": {"anyOf": two}},
    }
    schema = {"type": "object", "properties": properties, "required": []}
    result = await ctx.session.elicit_form("Choices?", schema, related_request_id=ctx.request_id)
    return f"Elicitation completed: action={result.action}"


def _form(message: str, name: str, kind: str = "string") -> dict:
    schema = {"type": "object", "properties": {name: {"type": kind}}, "required": [name]}
    return {"method": "elicitation/create", "params": {"message": message, "requestedSchema": schema}}


def _sample(text: str, tokens: int) -> dict:
    messages = [{"role": "user", "content": {"type": "text", "text": text}}]
    return {"method": "sampling/createMessage", "params": {"messages": messages, "maxTokens": tokens}}


ROOTS = {"method": "roots/list", "params": {}}


def _wanted(requests: dict, state: str | None = None) -> types.InputRequiredResult:
    return types.InputRequiredResult.model_validate(
        {"resultType": "input_required", "inputRequests": requests, "requestState": state}
    )


def _said(ctx: Context, *keys: str) -> bool:
    return all(key in (ctx.input_responses or {}) for key in keys)


def _done(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[_text(text)])


Answer = types.CallToolResult | types.InputRequiredResult


@server.tool()
async def test_input_required_result_elicitation(ctx: Context) -> Answer:
    """Need a name."""
    answer = (ctx.input_responses or {}).get("user_name")
    content = getattr(answer, "content", None)
    if isinstance(content, dict) and "name" in content:
        return _done(f"Hello, {content['name']}!")
    return _wanted({"user_name": _form("What is your name?", "name")})


@server.tool()
async def test_input_required_result_sampling(ctx: Context) -> Answer:
    """Need an answer of the client's model."""
    if _said(ctx, "capital_question"):
        return _done(f"The model said: {ctx.input_responses['capital_question'].content.text}")
    return _wanted({"capital_question": _sample("What is the capital of France?", 100)})


@server.tool()
async def test_input_required_result_list_roots(ctx: Context) -> Answer:
    """Need the client's roots."""
    if _said(ctx, "client_roots"):
        return _done(", ".join(str(root.uri) for root in ctx.input_responses["client_roots"].roots))
    return _wanted({"client_roots": ROOTS})


@server.tool()
async def test_input_required_result_request_state(ctx: Context) -> Answer:
    """Need a confirmation, and the state back."""
    if _said(ctx, "confirm"):
        return _done("state-ok" if ctx.request_state == "asked" else "state lost")
    return _wanted({"confirm": _form("Please confirm", "ok", "boolean")}, "asked")


@server.tool()
async def test_input_required_result_tampered_state(ctx: Context) -> Answer:
    """Need the state back as it was; the SDK seals it."""
    if _said(ctx, "confirm"):
        return _done("state-ok")
    return _wanted({"confirm": _form("Please confirm", "ok", "boolean")}, "sealed")


@server.tool()
async def test_input_required_result_multiple_inputs(ctx: Context) -> Answer:
    """Need three things at once."""
    if _said(ctx, "user_name", "greeting", "client_roots"):
        return _done("all there")
    requests = {
        "user_name": _form("What is your name?", "name"),
        "greeting": _sample("Generate a greeting", 50),
        "client_roots": ROOTS,
    }
    return _wanted(requests, "three")


@server.tool()
async def test_input_required_result_multi_round(ctx: Context) -> Answer:
    """Need two things, one after the other."""
    if ctx.request_state == "two" and _said(ctx, "step2"):
        return _done("both there")
    if ctx.request_state == "one" and _said(ctx, "step1"):
        return _wanted({"step2": _form("Step 2: What is your favorite color?", "color")}, "two")
    return _wanted({"step1": _form("Step 1: What is your name?", "name")}, "one")


@server.tool()
async def test_input_required_result_capabilities(ctx: Context) -> Answer:
    """Need what the client can give, and nothing else."""
    if ctx.input_responses:
        return _done("thanks")
    can = ctx.client_capabilities
    requests = {}
    if can is not None and can.sampling is not None:
        requests["greeting"] = _sample("Generate a greeting", 50)
    if can is not None and can.elicitation is not None:
        requests["user_name"] = _form("What is your name?", "name")
    return _wanted(requests, "capabilities")


@server.tool()
def test_missing_capability() -> str:
    """Need a capability that no client of the suite has."""
    raise MCPError(-32021, "sampling is needed", data={"requiredCapabilities": {"sampling": {}}})


@server.tool()
async def test_trigger_tool_change(ctx: Context) -> str:
    """Say that the list of tools changed."""
    await ctx.notify_tools_changed()
    return "said"


@server.tool()
async def test_trigger_prompt_change(ctx: Context) -> str:
    """Say that the list of prompts changed."""
    await ctx.notify_prompts_changed()
    return "said"


@server.resource("test://static-text", mime_type="text/plain")
def static_text() -> str:
    """A text."""
    return "This is the content of the static text resource."


@server.resource("test://static-binary", mime_type="image/png")
def static_binary() -> bytes:
    """An image."""
    return base64.b64decode(PNG)


@server.resource("test://template/{id}/data", mime_type="application/json")
def template(id: str) -> str:  # noqa: A002 - the suite's name
    """Data of an id."""
    return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})


@server.resource("test://watched-resource", mime_type="text/plain")
def watched() -> str:
    """A text to subscribe to."""
    return "watched"


@server.prompt()
def test_simple_prompt() -> str:
    """A prompt."""
    return "This is a simple prompt for testing."


@server.prompt()
def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
    """A prompt with arguments."""
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


@server.prompt()
def test_prompt_with_embedded_resource(resourceUri: str) -> list[UserMessage]:  # noqa: N803 - the suite's name
    """A prompt with a resource."""
    resource = _embedded(resourceUri, "Embedded resource content for testing.")
    return [UserMessage(resource), UserMessage("Please process the embedded resource above.")]


@server.prompt()
def test_prompt_with_image() -> list[UserMessage]:
    """A prompt with an image."""
    return [UserMessage(IMAGE), UserMessage("Please analyze the image above.")]


@server.prompt()
async def test_input_required_result_prompt(ctx: Context) -> list[UserMessage] | types.InputRequiredResult:
    """A prompt that needs a context."""
    if _said(ctx, "user_context"):
        return [UserMessage(f"Context: {ctx.input_responses['user_context'].content}")]
    return _wanted({"user_context": _form("What context should the prompt use?", "context")})


@server.completion()
async def complete(ref, argument, context):
    return types.Completion(values=["paris", "park", "party"], total=150, has_more=False)


async def _accept(ctx, params):
    return types.EmptyResult()


# What the SDK's high-level server leaves to others.
for method, params in (
    ("logging/setLevel", types.SetLevelRequestParams),
    ("resources/subscribe", types.SubscribeRequestParams),
    ("resources/unsubscribe", types.UnsubscribeRequestParams),
):
    server._lowlevel_server.add_request_handler(method, params, _accept)


class Events(EventStore):
    """All events, in order, for clients that come back with ``Last-Event-ID``."""

    def __init__(self):
        self._events = []

    async def store_event(self, stream_id, message):
        self._events.append((stream_id, message))
        return str(len(self._events))

    async def replay_events_after(self, last_event_id, send_callback):
        position = int(last_event_id)
        stream = self._events[position - 1][0]
        for number, (stream_id, message) in enumerate(self._events[position:], start=position + 1):
            if stream_id == stream and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream


async def main(open_port: int, signed_port: int, sts_url: str) -> None:
    loopback = ["127.0.0.1:*", "localhost:*"]
    app = server.streamable_http_app(
        event_store=Events(),
        retry_interval=500,
        transport_security=TransportSecuritySettings(
            allowed_hosts=[*loopback, SIGNING_HOST], allowed_origins=[f"http://{host}" for host in loopback]
        ),
    )
    async with httpx2.AsyncClient(trust_env=False) as http:
        gate = SignatureGate(
            app,
            settings=UpstreamSettings(sts_url=sts_url),
            credentials=CredentialLookup(sts_url=sts_url, http=http),
            log=RequestLog(),
        )
        servers = [
            uvicorn.Server(
                uvicorn.Config(entrance, port=port, http="h11", lifespan="off", log_level="warning")
            )
            for entrance, port in ((app, open_port), (gate, signed_port))
        ]

        # uvicorn would run it once for each of the two.
        async with app.router.lifespan_context(app):
            await asyncio.gather(*(each.serve() for each in servers))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
