"""Boto3 and the AWS CLI through a gateway that signs: send the user's token, and no signature.

In a program, for every client of one session:

    session = boto3.Session()
    gateway_bearer.use_token(session.events, read_token)
    s3 = session.client("s3", endpoint_url="https://gateway.example.com/s3")

``read_token`` is called for every request, so a program may run longer than its first token.

As a plugin of the AWS CLI: see ``awscli_initialize``. This file needs only boto3 or the CLI.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

try:
    from botocore import UNSIGNED
except ImportError:  # AWS CLI 2 contains botocore
    from awscli.botocore import UNSIGNED

_ERRORS = 400


def use_token(events: Any, read_token: Callable[[], str]) -> None:
    """Send what ``read_token`` returns as the bearer token of every request, instead of a signature.

    No AWS credentials are needed. ``events``: of a boto3 session, or of a client (``client.meta.events``).
    Presigned URLs need AWS credentials, and raise ``ValueError``; so does an endpoint without HTTPS, before
    the token is sent.
    """

    def choose(signature_version: object, signing_name: str, **_: Any) -> Any:
        if signing_name == "s3express":
            raise ValueError("directory buckets need an S3 session's credentials, which the gateway keeps")
        presigned = str(signature_version).endswith(("-query", "-presign-post"))
        return None if presigned else UNSIGNED

    def add(request: Any, signature_version: object, **_: Any) -> None:
        if signature_version != UNSIGNED:
            raise ValueError("only the gateway signs: a URL or post cannot be presigned here")
        if not request.url.startswith("https://"):
            raise ValueError(f"a token is sent over HTTPS only, and not to {request.url}")
        request.headers["Authorization"] = f"Bearer {read_token().strip()}"

    events.register("before-parse", _show_refusals)
    events.register_first("choose-signer", choose)
    events.register("before-sign", add)


def _show_refusals(response_dict: Any, customized_response_dict: Any, **_: Any) -> None:
    """Show the client the text of the gateway's refusals, which do not have the form of AWS's errors."""
    if response_dict["status_code"] < _ERRORS:
        return
    try:
        refusal = json.loads(response_dict["body"])
        code, text = refusal["error"], refusal["error_description"]
    except (ValueError, LookupError, TypeError):
        return  # an error of AWS's
    response_dict["body"] = b"<ErrorResponse/>"  # some of AWS's protocols are XML, and the others accept it
    code = str(code or response_dict["status_code"])
    customized_response_dict["Error"] = {"Code": code, "Message": f"{text} (said by the gateway)"}


def awscli_initialize(events: Any) -> None:
    """Initialize the plugin of the AWS CLI; the token is in the file that ``GATEWAY_TOKEN_FILE`` names.

    In ``~/.aws/config``, with this file in a directory that ``PYTHONPATH`` names::

        [plugins]
        gateway = gateway_bearer

    AWS CLI 2 takes the directory from ``cli_legacy_plugin_path`` in the same section.
    """
    path = os.environ.get("GATEWAY_TOKEN_FILE")
    if path:
        use_token(events, Path(path).read_text)
