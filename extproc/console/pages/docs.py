"""The documentation."""

from starlette.responses import Response

from extproc.console.docs import FIRST
from extproc.console.guard import RefusedError
from extproc.console.visit import Visit


async def index(visit: Visit) -> Response:
    """Return the page that leads to the others."""
    return _shown(visit, FIRST)


async def page(visit: Visit) -> Response:
    """Return one page."""
    return _shown(visit, visit.request.path_params["name"])


def _shown(visit: Visit, name: str) -> Response:
    docs = visit.parts.docs
    body = docs.page(name)
    if body is None:
        raise RefusedError(404, "There is no such page.")
    return visit.html("docs.html", name=name, contents=docs.contents(), body=body)
