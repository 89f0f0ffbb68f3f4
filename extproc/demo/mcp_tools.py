"""The demo's MCP server itself: three tools, served in both protocol modes of the official SDK."""

import asyncio
from typing import Annotated, Final

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from extproc.demo.sigv4_verifier import VerifiedRequest

# Where the verifier's middleware leaves the identity in the ASGI scope. The scope reaches a tool with the
# request; a context variable would not, since a session's tools run in a task of their own.
SCOPE_KEY: Final = "extproc.demo.verified"


# Models, not slotted dataclasses, for which the SDK silently omits the structured result.
class Caller(BaseModel):
    """The caller's AWS identity."""

    model_config = ConfigDict(frozen=True)

    arn: str
    role_name: str
    session_name: str
    access_key_id: str


class Counted(BaseModel):
    """The end of a countdown."""

    model_config = ConfigDict(frozen=True)

    counted: int


def caller_of(request: Request) -> Caller:
    """Return the identity that the verifier found for a request."""
    verified = request.scope[SCOPE_KEY]
    if not isinstance(verified, VerifiedRequest):
        raise TypeError("the request did not come through the verifier")
    # arn:aws:sts::123456789012:assumed-role/RoleName/SessionName
    role_name = verified.arn.split("/")[1]
    return Caller(
        arn=verified.arn,
        role_name=role_name,
        session_name=verified.session_name,
        access_key_id=verified.access_key_id,
    )


async def whoami(ctx: Context) -> Caller:
    """Return the AWS identity of this request."""
    request = ctx.request_context.request
    if not isinstance(request, Request):
        raise TypeError("the tool was not called over HTTP")
    return caller_of(request)


async def echo(text: str) -> str:
    """Return the text unchanged."""
    return text


async def countdown(
    n: Annotated[int, Field(ge=1, le=1000)], delay: Annotated[float, Field(ge=0, le=60)], ctx: Context
) -> Counted:
    """Count down from n, one progress notification each ``delay`` seconds, in a streamed answer."""
    for done in range(1, n + 1):
        await asyncio.sleep(delay)
        await ctx.report_progress(done, n, f"{n - done} to go")
    return Counted(counted=n)


def build_server() -> MCPServer:
    """Build the server with its tools."""
    server: MCPServer = MCPServer("extproc-demo", version="1.0.0", log_level="WARNING")
    for tool in (whoami, echo, countdown):
        server.add_tool(tool)
    return server
