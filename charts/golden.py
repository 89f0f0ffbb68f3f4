"""Render the chart with each set of values in ``ci/``, and compare with the golden files.

Run by ``make chart``; with ``--write`` the files are written.
"""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
CHART = HERE / "extproc"


def rendered(helm: str, values: Path, release: str = "extproc") -> str:
    """Return what Helm renders; the chart must pass its linter too."""
    lint = subprocess.run(
        [helm, "lint", "--quiet", "--strict", CHART, "--values", values],
        check=False,
        capture_output=True,
        text=True,
    )
    if lint.returncode:
        sys.exit(lint.stdout + lint.stderr)
    command = [helm, "template", release, CHART, "--namespace", "mcp", "--values", values]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def as_base(text: str) -> str:
    """Return what Helm renders without a namespace, and without Helm's own labels: as a kustomize base."""
    ours = ("  namespace: mcp", "helm.sh/chart:", "app.kubernetes.io/managed-by:", "# Source:")
    lines = (line for line in text.splitlines() if not line.strip().startswith(tuple(map(str.strip, ours))))
    return "".join(f"{line}\n" for line in lines)


def main(helm: str, *, write: bool) -> int:
    """Compare or write; return the exit status."""
    files = {
        HERE / "golden" / f"{values.name.removesuffix('-values.yaml')}.yaml": rendered(helm, values)
        for values in sorted((CHART / "ci").iterdir())
    }
    files[HERE / "kustomize" / "extproc.yaml"] = as_base(rendered(helm, HERE / "kustomize" / "values.yaml"))
    different = []
    for path, text in files.items():
        if write:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            different.append(path.relative_to(HERE))
    for path in different:
        print(f"charts/{path}: out of date; see what changes: make chart ARGS=--write, git diff")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], write="--write" in sys.argv[2:]))
