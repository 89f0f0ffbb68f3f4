"""Plain values into messages of the admin API, and its requests into plain values."""

import base64
import binascii
import json
import math
from collections.abc import Mapping
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from extproc.admin.v1 import admin_pb2
from extproc.adminapi.operations import CredentialsView, KeySetStatus, RefusedError, SessionView, Status
from extproc.credentials.revocation import Selector

_NANOSECONDS = 1_000_000_000
_EXACT = 2**53
"""Beyond it a double no longer tells neighbouring integers apart."""
