"""Convert ToolHive's ``MCPExternalAuthConfig`` (type ``awsSts``) to extproc's configuration.

Both spellings are accepted: ``roleArn`` of v1alpha1 and ``fallbackRoleArn`` of v1beta1. The settings that
the resource does not have (issuer, audience, target) come from options, from a YAML document in extproc's
format, or from the ``MCPRemoteProxy`` that refers to it. Other Kubernetes objects and lists of objects are
accepted as ``kubectl get -o yaml`` and Helm print them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from extproc import config
from extproc.config import ConfigError, Settings, toolhive_proxy
from extproc.config.locations import located

KIND = "MCPExternalAuthConfig"
_VERSIONS = {"toolhive.stacklok.dev/v1alpha1": "roleArn", "toolhive.stacklok.dev/v1beta1": "fallbackRoleArn"}
_SPEC = {
    "roleClaim": "role_claim",
    "sessionDuration": "session_duration",
    "sessionNameClaim": "session_name_claim",
}
_OWN = frozenset({"region", "service", "roleMappings", "subjectProviderName"})
_LISTS = ("List", f"{KIND}List")
_PROVIDER_NAME = (
    "spec.awsSts.subjectProviderName: chooses among the logins of ToolHive's VirtualMCPServer, and means "
    "nothing here: STS gets the client's bearer token, or the token in issuers[].sts_token_header"
)
_MAPPING = {"claim": "claim", "matcher": "matcher", "roleArn": "role_arn", "priority": "priority"}


@dataclass(frozen=True, slots=True)
class Supplement:
    """Settings that the resource lacks. ``target``: the host to sign for; ``name``: selects a resource."""

    name: str | None = None
    issuer: str | None = None
    audience: str | None = None
    target: str | None = None


def load(path: Path, supplement: Supplement) -> Settings:
    """Read a configuration file in extproc's format or ToolHive's.

    Raises:
        ConfigError: an invalid configuration, with one line for each problem.
    """
    text = config.read_text(path, if_absent=config.WRITE_ONE)
    with located(path, text):
        documents = _objects(config.read_documents(text))
    if any(_is_resource(document) for document in documents):
        return config.validate(convert(documents, supplement))
    if supplement != Supplement():
        raise ConfigError([f"document: --issuer, --audience, --target and --name are for a {KIND} only"])
    return config.load(path)


def notes(path: Path, supplement: Supplement) -> list[str]:
    """Return notes about settings of a resource that have no effect; none for a file in extproc's format."""
    return notes_of(config.read_text(path), supplement)


def notes_of(text: str, supplement: Supplement) -> list[str]:
    """Return notes about settings of a resource that have no effect; none for extproc's format."""
    documents = _objects(config.read_documents(text))
    if not any(_is_resource(document) for document in documents):
        return []
    spec = _chosen(documents, supplement.name)[0].get("spec", {})
    return [_PROVIDER_NAME] if spec.get("awsSts", {}).get("subjectProviderName") else []


def native_yaml(text: str, supplement: Supplement) -> str:
    """Return the configuration in extproc's format, validated; raises ``ConfigError``."""
    documents = _objects(config.read_documents(text))
    converted = convert(documents, supplement)
    config.validate(converted)
    return yaml.safe_dump(converted, sort_keys=False, allow_unicode=True, width=110)


def convert(documents: list[Any], supplement: Supplement) -> dict[str, Any]:
    """Return one resource and at most one document of settings as one document, not yet validated."""
    documents = _objects(documents)
    resource, others = _chosen(documents, supplement.name)
    converted = _resource(resource)
    region, service = converted.pop("region"), converted.pop("service")
    extra = dict(others[0]) if others else {}
    for name in sorted(set(converted) & set(extra)):
        raise ConfigError([f"{name}: is set by the {KIND} already"])
    proxy = _proxy_of(resource, documents, supplement.name)
    bundle = toolhive_proxy.settings_of(proxy, documents, region, service) if proxy else {}
    _supplement(extra, supplement, bundle, region, service)
    return {**extra, **converted}


def _objects(documents: list[Any]) -> list[Any]:
    """Return the documents without empty ones and with lists replaced by their items."""
    objects: list[Any] = []
    for document in documents:
        if isinstance(document, dict) and document.get("kind") in _LISTS:
            items = document.get("items")
            objects += _objects(items if isinstance(items, list) else [])
        elif document is not None:
            objects.append(document)
    return objects


def _chosen(documents: list[Any], name: str | None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the selected resource and the documents of settings."""
    documents = _objects(documents)
    # The kind has several types; the others are not for AWS.
    resources = [document for document in documents if _is_resource(document)]
    typed = [resource for resource in resources if _type(resource) == "awsSts"] or resources
    proxies = toolhive_proxy.proxies(documents)
    of_proxies = {toolhive_proxy.reference(proxy) for proxy in proxies if name in (None, _name(proxy))}
    wanted = [resource for resource in typed if name in (None, _name(resource))]
    if len(wanted) != 1:
        # A proxy's name is as good, and of several resources the one counts that a proxy uses.
        wanted = [resource for resource in typed if _name(resource) in of_proxies]
    others = [document for document in documents if not _is_object(document)]
    if len(wanted) != 1:
        known = ", ".join(sorted(_name(resource) for resource in typed))
        raise ConfigError([f"document: one {KIND} is expected; choose by --name one of: {known}"])
    if len(others) > 1 or not all(isinstance(other, dict) for other in others):
        raise ConfigError([f"document: beside a {KIND} at most one document of settings is expected"])
    return wanted[0], others


def _proxy_of(resource: dict[str, Any], documents: list[Any], name: str | None) -> dict[str, Any] | None:
    """Return the proxy that refers to a resource; None if there is none."""
    namespace, own_name = toolhive_proxy.identity(resource)
    referring = [
        proxy
        for proxy in toolhive_proxy.proxies(documents)
        if toolhive_proxy.reference(proxy) == own_name and toolhive_proxy.identity(proxy)[0] == namespace
    ]
    chosen = [proxy for proxy in referring if len(referring) == 1 or _name(proxy) == name]
    if referring and len(chosen) != 1:
        known = ", ".join(sorted(map(_name, referring)))
        raise ConfigError(
            [f"document: several proxies refer to {own_name}; choose by --name one of: {known}"]
        )
    return chosen[0] if chosen else None


def _type(resource: dict[str, Any]) -> object:
    spec = resource.get("spec")
    return spec.get("type") if isinstance(spec, dict) else None


def _name(resource: dict[str, Any]) -> str:
    metadata = resource.get("metadata")
    return str(metadata.get("name")) if isinstance(metadata, dict) else ""


def _is_object(document: Any) -> bool:
    """Return whether a document is a Kubernetes object; documents of settings have neither key."""
    return isinstance(document, dict) and {"apiVersion", "kind"} <= set(document)


def _supplement(
    extra: dict[str, Any], supplement: Supplement, bundle: dict[str, Any], region: str, service: str
) -> None:
    """Add what options say, and else a proxy; what the document of settings has stays."""
    for option, section in (
        ("issuer", "issuers"), ("audience", "resource"), ("target", "targets"),
    ):  # fmt: skip
        if getattr(supplement, option) is not None and section in extra:
            raise ConfigError([f"--{option}: the document of settings has {section} already"])
        if getattr(supplement, option) is None and section in bundle:
            extra.setdefault(section, bundle[section])
    if not isinstance(extra.get("sts", {}), dict):
        raise ConfigError(["sts: must be a mapping"])
    if supplement.issuer is not None:
        if not supplement.audience:
            raise ConfigError(["--audience: is needed with --issuer"])
        extra.setdefault("issuers", [{"issuer": supplement.issuer, "audiences": [supplement.audience]}])
    if supplement.audience is not None:
        extra.setdefault("resource", {"url": supplement.audience})
    if "targets" not in extra:
        host = supplement.target or (f"aws-mcp.{region}.api.aws" if service == "aws-mcp" else None)
        if host is None:
            raise ConfigError([f"--target: is needed, since the host of {service} cannot be inferred"])
        extra["targets"] = [{"name": "default", "host": host, "region": region, "service": service}]
    extra["sts"] = {"region": region, **extra.get("sts", {})}  # a new one: the document is the caller's


def _is_resource(document: Any) -> bool:
    return isinstance(document, dict) and document.get("kind") == KIND


def _resource(document: dict[str, Any]) -> dict[str, Any]:
    problems: list[str] = []
    version = document.get("apiVersion")
    spec = document.get("spec")
    spec = spec if isinstance(spec, dict) else {}
    source = spec.get("awsSts")
    if version not in _VERSIONS:
        problems.append(f"apiVersion: must be one of {', '.join(_VERSIONS)}")
    if spec.get("type") != "awsSts" or not isinstance(source, dict):
        raise ConfigError([*problems, "spec: must be of type awsSts, with awsSts"])
    roles = set(_VERSIONS.values())
    problems += [f"spec.{name}: unknown key" for name in sorted(set(spec) - {"type", "awsSts"})]
    unknown = set(source) - set(_SPEC) - _OWN - roles
    problems += [f"spec.awsSts.{name}: unknown key" for name in sorted(unknown)]
    if roles <= set(source):
        problems.append("spec.awsSts: roleArn and fallbackRoleArn exclude each other")
    if not isinstance(source.get("region"), str):
        problems.append("spec.awsSts.region: is required")
    converted = _renamed(source, {**_SPEC, **dict.fromkeys(roles, "fallback_role_arn")})
    mappings = source.get("roleMappings") or []  # Kubernetes prints null for an empty list
    converted["role_mappings"] = []
    for position, mapping in enumerate(mappings if isinstance(mappings, list) else [None]):
        place = f"spec.awsSts.roleMappings[{position}]"
        if not isinstance(mapping, dict):
            problems.append(f"{place}: must be a mapping")
            continue
        problems += [f"{place}.{name}: unknown key" for name in sorted(set(mapping) - set(_MAPPING))]
        converted["role_mappings"].append(_renamed(mapping, _MAPPING))
    if problems:
        raise ConfigError(problems)
    return {"region": source["region"], "service": source.get("service") or "aws-mcp", **converted}


def _renamed(source: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    # Kubernetes prints an empty string for a field that is not set.
    return {ours: source[theirs] for theirs, ours in names.items() if source.get(theirs) not in ("", None)}
