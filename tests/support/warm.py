"""What forked programs find loaded and done already (see ``forked``): all that a stack's programs need but gRPC."""

import gc
import importlib
import sys

from extproc.demo import mcp_tools
from extproc.policy import cel

MODULES = (
    # the demo's services, and what they load when they start
    "extproc.demo.idp",
    "extproc.demo.sts",
    "extproc.demo.mcp_server",
    "anyio._backends._asyncio",
    "httpcore2",
    "uvicorn.lifespan.off",
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
    "uvicorn.loops.asyncio",
    "uvicorn.protocols.http.h11_impl",
    # the server
    "extproc.cli",
    "extproc.commands.serve",
    "extproc.admin.http",
    "extproc.admin.messages",
    "extproc.app.comparing",
    "extproc.app.observation",
    "extproc.app.process_state",
    "extproc.app.reload",
    "extproc.config.toolhive",
    "extproc.explain.run",
    "extproc.grpc_server.sockets",
    "extproc.request.stream",
)

for name in MODULES:
    importlib.import_module(name)

# CEL's parser is built by its first use, and that takes a third of a server's start.
cel.compile_bool("true", variables=frozenset())
mcp_tools.build_server()

assert "grpc" not in sys.modules  # it does not survive a fork

# Collections of forked programs skip what is shared: it stays shared.
gc.collect()
gc.freeze()
