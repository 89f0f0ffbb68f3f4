"""The demo provider's OAuth errors."""

from http import HTTPStatus


class OAuthError(Exception):
    """An error response of RFC 6749 section 5.2 or RFC 7591 section 3.2.2.

    Attributes:
        error: the code of the specification.
        description: a sentence for the caller.
    """

    def __init__(self, error: str, description: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(f"{error}: {description}")
        self.error = error
        self.description = description
        self.status = status
