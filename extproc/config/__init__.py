"""The configuration file: YAML into frozen, validated settings.

Everything that can be checked without the network is checked here: a file that loads is usable.
Unknown and duplicate keys are refused. Errors are ``path: message`` lines.
"""

from extproc.config.console import Console
from extproc.config.document import WRITE_ONE, load, load_listen, parse, read_documents, read_text, validate
from extproc.config.errors import ConfigError
from extproc.config.fields import grpc_address, host_port
from extproc.config.issuers import Issuer, Refresh
from extproc.config.lint import notes, warnings
from extproc.config.listen import Listen, Tls, stays_local
from extproc.config.roles import RoleMapping, RuleSettings
from extproc.config.settings import LimitSettings, Settings
from extproc.config.targets import TargetSettings
from extproc.config.token_exchange import TokenExchangeSettings

__all__ = [
    "WRITE_ONE",
    "ConfigError",
    "Console",
    "Issuer",
    "LimitSettings",
    "Listen",
    "Refresh",
    "RoleMapping",
    "RuleSettings",
    "Settings",
    "TargetSettings",
    "Tls",
    "TokenExchangeSettings",
    "grpc_address",
    "host_port",
    "load",
    "load_listen",
    "notes",
    "parse",
    "read_documents",
    "read_text",
    "stays_local",
    "validate",
    "warnings",
]
