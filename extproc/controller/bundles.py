"""A source and what it refers to, as settings."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from extproc import config
from extproc.config import ConfigError, Settings, toolhive
from extproc.controller.kinds import (
    AUTH_CONFIG,
    CONFIG_KEY,
    ENABLED,
    OIDC_CONFIG,
    SOURCE_MAP,
    Object,
    annotations,
    name_of,
)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A source with the objects that it refers to.

    Attributes:
        missing: what it refers to and is not there, as a sentence; None if all is there.
        auth_config: the name of its ``MCPExternalAuthConfig``; None for a ConfigMap.
    """

    source: Object
    referred: tuple[Object, ...] = ()
    missing: str | None = None
    auth_config: str | None = None

    def digest(self, base: dict[str, Any]) -> str:
        """Return what changes when the settings may: content, without versions and status."""
        parts = [
            {"spec": each.get("spec"), "data": each.get("data"), "name": name_of(each)}
            for each in (self.source, *self.referred)
        ]
        text = json.dumps([parts, base], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()


def opted_in(kind: str, source: Object) -> bool:
    """Return whether a source wants to be written for. A ConfigMap says so by its label."""
    return kind == SOURCE_MAP.name or annotations(source).get(ENABLED) == "true"


def bundle(kind: str, source: Object, copies: dict[str, dict[str, Object]]) -> Bundle:
    """Return a source with what it refers to. ``copies``: the namespace's objects by kind and name."""
    if kind == SOURCE_MAP.name:
        return Bundle(source)
    auth = reference(source, "externalAuthConfigRef")
    oidc = reference(source, "oidcConfigRef")
    if auth is None:
        return Bundle(source, missing="spec.externalAuthConfigRef: is missing")
    referred: list[Object] = []
    for kind_of, name, place in (
        (AUTH_CONFIG, auth, "externalAuthConfigRef"),
        (OIDC_CONFIG, oidc, "oidcConfigRef"),
    ):
        if name is None:
            continue
        found = copies[kind_of.name].get(name)
        if found is None:
            missing = f"spec.{place}: {kind_of.name} {name} is not there"
            return Bundle(source, missing=missing, auth_config=auth)
        referred.append(found)
    return Bundle(source, tuple(referred), auth_config=auth)


def reference(source: Object, field: str) -> str | None:
    """Return the name in a reference of a source's spec."""
    spec = source.get("spec")
    value = spec.get(field) if isinstance(spec, dict) else None
    name = value.get("name") if isinstance(value, dict) else None
    return str(name) if name else None


def refers_to(source: Object, kind: str, name: str) -> bool:
    """Return whether a source refers to an object."""
    field = {AUTH_CONFIG.name: "externalAuthConfigRef", OIDC_CONFIG.name: "oidcConfigRef"}.get(kind)
    return field is not None and reference(source, field) == name


def document(kind: str, found: Bundle, base: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration: what users wrote, and the operator's own sections (``listen``).

    Raises:
        ConfigError: with the messages of ``extproc check``.
    """
    if kind != SOURCE_MAP.name:
        return toolhive.convert([found.source, *found.referred, dict(base)], toolhive.Supplement())
    text = (found.source.get("data") or {}).get(CONFIG_KEY)
    if not isinstance(text, str):
        raise ConfigError([f"data: the key {CONFIG_KEY} is missing"])
    documents = config.read_documents(text)
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise ConfigError([f"data.{CONFIG_KEY}: one YAML document with settings is expected"])
    both = sorted(set(documents[0]) & set(base))
    if both:
        raise ConfigError([f"{name}: is set by the controller's own settings" for name in both])
    return {**documents[0], **base}


def settings(content: dict[str, Any]) -> tuple[Settings, list[str]]:
    """Return validated settings and their warnings; raises ``ConfigError``."""
    valid = config.validate(content)
    return valid, [f"warning: {each}" for each in config.warnings(valid)]
