"""AWS's Query protocol, as far as STS needs it: forms, and answers in XML.

https://smithy.io/2.0/aws/protocols/aws-query-protocol.html. Tests compare it with botocore.
"""

import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree as ET

from extproc.sts.answer import UnusableAnswerError, check_document

HEADERS = {
    "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
    "User-Agent": "extproc",
}
_VERSION = "2011-06-15"


def endpoint(region: str) -> str:
    """Return the URL of AWS's STS in a region. botocore's data say which partition the region is of."""
    partitions = json.loads(files("botocore").joinpath("data/partitions.json").read_bytes())["partitions"]
    suffixes = (one["outputs"]["dnsSuffix"] for one in partitions if re.match(one["regionRegex"], region))
    return f"https://sts.{region}.{next(suffixes, 'amazonaws.com')}"


def form(action: str, parameters: Mapping[str, str | int | Sequence[str]]) -> bytes:
    """Return the body of a request. A list is of ARNs, each in a structure of its own (``PolicyArns``)."""
    fields: list[tuple[str, str | int]] = [("Action", action), ("Version", _VERSION)]
    for name, value in parameters.items():
        if isinstance(value, str | int):
            fields.append((name, value))
        else:
            fields += [(f"{name}.member.{number}.arn", arn) for number, arn in enumerate(value, start=1)]
    return urlencode(fields).encode("ascii")


def result(action: str, body: bytes) -> dict[str, Any]:
    """Return the members of an answer's result: strings, or mappings of strings.

    Raises:
        UnusableAnswerError: it is not an answer to the action.
    """
    members = _members(_parsed(body))
    if f"{action}Result" not in members:
        raise UnusableAnswerError("it has no result")
    return {name: _value(member) for name, member in _members(members[f"{action}Result"]).items()}


def error(body: bytes) -> tuple[str, str]:
    """Return the code and the message of an error; empty strings if it has none.

    Raises:
        UnusableAnswerError: it is not XML.
    """
    # Ceph sends errors in S3's form, whose root is the error itself.
    found = next((node for node in _parsed(body).iter() if _name(node) == "Error"), ())
    members = {_name(member): member.text or "" for member in found}
    return members.get("Code", ""), members.get("Message", "")


def _parsed(body: bytes) -> ET.Element:
    check_document(body)
    try:
        return ET.fromstring(body)  # noqa: S314 - no document type, so no entities
    except ET.ParseError:
        raise UnusableAnswerError("it is not XML") from None


def _members(node: ET.Element) -> dict[str, ET.Element]:
    found = {_name(member): member for member in node}
    if len(found) != len(node):
        raise UnusableAnswerError("it has a member twice")
    return found


def _value(node: ET.Element) -> str | dict[str, str]:
    if len(node) == 0:
        return node.text or ""
    return {name: member.text or "" for name, member in _members(node).items()}


def _name(node: ET.Element) -> str:
    """Return a tag without its namespace: services other than AWS use none, or others."""
    return node.tag.rpartition("}")[2]
