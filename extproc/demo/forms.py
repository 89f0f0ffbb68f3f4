"""Strict parsing of ``application/x-www-form-urlencoded`` requests, with a limit."""

from urllib.parse import parse_qsl

from starlette.requests import Request


class FormError(Exception):
    """The body is not an acceptable form; ``str()`` is a sentence for the caller."""


async def read_body(request: Request, *, limit: int) -> bytes:
    """Read a whole body of at most ``limit`` bytes.

    Raises:
        FormError: the body is larger.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise FormError("the request body is too large")
    return bytes(body)


async def read_form(request: Request, *, limit: int) -> dict[str, str]:
    """Read a form of at most ``limit`` bytes.

    Raises:
        FormError: wrong media type, too large, not UTF-8, or a parameter sent twice (RFC 6749 section 3.2).
    """
    return parse_form(request, await read_body(request, limit=limit))


def parse_form(request: Request, body: bytes) -> dict[str, str]:
    """Return the form in a body that was read; raises ``FormError`` as ``read_form`` does."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/x-www-form-urlencoded":
        raise FormError("the request must be application/x-www-form-urlencoded")
    try:
        pairs = parse_qsl(
            body.decode("utf-8"),
            keep_blank_values=True,
            strict_parsing=False,
            errors="strict",
            max_num_fields=100,
        )
    except ValueError:
        raise FormError("the form is malformed") from None
    form: dict[str, str] = {}
    for name, value in pairs:
        if name in form:
            raise FormError("a parameter was sent more than once")
        form[name] = value
    return form
