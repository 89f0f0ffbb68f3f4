"""Write what the chart has from elsewhere: its README and the admission policy.

Run by ``make reference``; tests fail where a file is out of date.
"""

from pathlib import Path
from typing import Any

import yaml

from extproc.envoy_gateway.admission import admission_policy
from extproc.envoy_gateway.options import GatewayOptions

HERE = Path(__file__).parent
CHART = HERE / "extproc"
_README = """\
# Helm chart

Written by `make reference` from the comments in [values.yaml](values.yaml). How to install it:
[docs/kubernetes](../../docs/kubernetes/README.md).

| value | default | meaning |
|---|---|---|
"""
_ADMISSION = """\
{{/* Written by `make reference` from extproc/envoy_gateway/admission.py. */}}
{{- if .Values.envoyGateway.admissionPolicy }}
"""
# Names that Kubernetes accepts, in the place of the release's.
_PLACEHOLDERS = {
    "xx-namespace": "{{ .Release.Namespace }}",
    "xx-gateway": "{{ .Values.envoyGateway.gateway }}",
    "xx-service": '{{ include "extproc.fullname" . }}',
}


def comments(text: str) -> dict[str, str]:
    """Return the description of each key (``a.b``) of a values file that has one."""
    found: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    pending: list[str] = []
    for line in text.splitlines():
        bare = line.strip()
        if bare.startswith("# -- "):
            pending = [bare.removeprefix("# -- ")]
        elif bare.startswith("# ") and pending:
            pending.append(bare.removeprefix("# "))
        elif bare and not bare.startswith(("#", "-")):
            indent = len(line) - len(line.lstrip())
            path = [(at, key) for at, key in path if at < indent] + [(indent, bare.partition(":")[0])]
            if pending:
                found[".".join(key for _, key in path)] = " ".join(pending)
            pending = []
    return found


def rows(values: dict[str, Any], described: dict[str, str], prefix: str = "") -> list[str]:
    """Return a row for each value; a described mapping is one row."""
    found = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value and name not in described:
            found += rows(value, described, f"{name}.")
            continue
        default = yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("...\n").strip()
        found.append(f"| `{name}` | `{default}` | {described.get(name, 'as in Kubernetes')} |")
    return found


def readme() -> str:
    """Return the chart's README."""
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    return _README + "\n".join(rows(yaml.safe_load(text), comments(text))) + "\n"


def admission() -> str:
    """Return the template of the admission policy."""
    options = GatewayOptions(gateway="xx-gateway", service="xx-service", namespace="xx-namespace")
    text = yaml.safe_dump_all(admission_policy(options), sort_keys=False, width=10_000)
    for placeholder, expression in _PLACEHOLDERS.items():
        text = text.replace(placeholder, expression)
    return f"{_ADMISSION}{text}{{{{- end }}}}\n"


def written() -> dict[Path, str]:
    """Return the content of each file that is made from something else."""
    return {CHART / "README.md": readme(), CHART / "templates" / "admission.yaml": admission()}


if __name__ == "__main__":
    for path, content in written().items():
        path.write_text(content, encoding="utf-8")
