"""Read issuer, audience, resource and target from ToolHive's ``MCPRemoteProxy`` or ``MCPServer``.

It and its ``MCPOIDCConfig`` are of the same namespace, as ToolHive demands. Settings of a proxy that
restrict its users are refused: an import without them would allow more than the proxy does.
"""

from typing import Any
from urllib.parse import urlsplit

from extproc.config.errors import ConfigError

KINDS, _OIDC_KIND = ("MCPRemoteProxy", "MCPServer"), "MCPOIDCConfig"
_RESTRICTS = {
    "authzConfig": "write its rules as deny_rules",
    "authzConfigRef": "write its rules as deny_rules",
    "toolConfigRef": "write its rules as deny_rules over mcp.tool",
    "authServerRef": "clients need tokens of an OIDC provider here",
}


def proxies(objects: list[Any]) -> list[dict[str, Any]]:
    """Return the proxies that refer to an ``MCPExternalAuthConfig``."""
    return [
        each for each in objects if isinstance(each, dict) and each.get("kind") in KINDS and reference(each)
    ]


def reference(proxy: dict[str, Any]) -> str | None:
    """Return the name of the ``MCPExternalAuthConfig`` that a proxy refers to."""
    ref = _mapping(proxy.get("spec")).get("externalAuthConfigRef")
    name = _mapping(ref).get("name")
    return str(name) if name else None


def identity(item: dict[str, Any]) -> tuple[str, str]:
    """Return an object's namespace, ``default`` if it has none, and its name."""
    metadata = _mapping(item.get("metadata"))
    return str(metadata.get("namespace") or "default"), str(metadata.get("name"))


def settings_of(proxy: dict[str, Any], objects: list[Any], region: str, service: str) -> dict[str, Any]:
    """Return the sections ``issuers``, ``resource`` and ``targets`` that a proxy has.

    Raises:
        ConfigError: the proxy restricts its users in another way, or refers to what is not there.
    """
    spec = _mapping(proxy.get("spec"))
    place = f"{proxy['kind']} {identity(proxy)[1]}: spec"
    found = [
        f"{place}.{key}: is not imported: {step}, and remove it"
        for key, step in _RESTRICTS.items()
        if spec.get(key)
    ]
    if found:
        raise ConfigError(found)
    settings = _targets(proxy, place, region, service)
    if spec.get("oidcConfigRef"):
        ref = _mapping(spec["oidcConfigRef"])
        wanted = (identity(proxy)[0], str(ref.get("name")))
        source = next((each for each in objects if _is_oidc(each) and identity(each) == wanted), None)
        if source is None:
            raise ConfigError([f"{place}.oidcConfigRef: {_OIDC_KIND} {wanted[1]} is not there: print it too"])
        oidc, where = _mapping(source.get("spec")), f"{_OIDC_KIND} {wanted[1]}: spec"
    elif spec.get("oidcConfig"):  # v1alpha1
        oidc, where = _mapping(spec["oidcConfig"]), f"{place}.oidcConfig"
        ref = {"resourceUrl": oidc.get("resourceUrl"), **_mapping(oidc.get("inline"))}
    else:
        return settings
    inline = _mapping(oidc.get("inline"))
    if oidc.get("type") != "inline" or not inline.get("issuer"):
        raise ConfigError([f"{where}.type: only inline is imported, with its issuer; give --issuer instead"])
    audience = str(ref.get("audience") or "")
    if not audience:
        raise ConfigError([f"{place}: the audience of tokens is missing"])
    issuer = {"issuer": inline["issuer"], "audiences": [audience]}
    if inline.get("jwksUrl"):
        issuer["jwks_uri"] = inline["jwksUrl"]
    if inline.get("insecureAllowHTTP"):
        issuer["allow_insecure_http"] = True
    url = str(ref.get("resourceUrl") or audience)
    if urlsplit(url).scheme not in ("http", "https"):
        raise ConfigError([f"{place}: resourceUrl is missing, the URL that clients connect to"])
    return {"issuers": [issuer], "resource": {"url": url}, **settings}


def _targets(proxy: dict[str, Any], place: str, region: str, service: str) -> dict[str, Any]:
    if proxy["kind"] == "MCPServer":  # names no URL
        return {}
    return {"targets": [_target(str(_mapping(proxy.get("spec")).get("remoteUrl")), place, region, service)]}


def _target(url: str, place: str, region: str, service: str) -> dict[str, Any]:
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise ConfigError([f"{place}.remoteUrl: must be https: it is what is signed for"])
    return {"name": "default", "host": parts.netloc.lower(), "region": region, "service": service}


def _is_oidc(item: Any) -> bool:
    return isinstance(item, dict) and item.get("kind") == _OIDC_KIND


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
