"""The documentation."""

from starlette.responses import Response

from extproc.console.guard import RefusedError
from extproc.console.visit import Visit


async def index(visit: Visit) -> Response:
    """Return the list of pages."""
    return visit.html("docs.html", name=None, names=visit.parts.docs.names, body="")


async def page(visit: Visit) -> Response:
    """Return one page."""
    name = visit.request.path_params["name"]
    body = visit.parts.docs.page(name)
    if body is None:
        raise RefusedError(404, "There is no such page.")
    return visit.html("docs.html", name=name, names=visit.parts.docs.names, body=body)
