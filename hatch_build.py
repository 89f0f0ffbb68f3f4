"""Compiles a part of the server by Cython, if ``EXTPROC_COMPILED=1`` is set while a wheel is built.

The wheel then has an extension module beside each file of ``COMPILED``, which Python prefers, and holds for
one Python on one platform. The source is the same (docs/decisions/0015-compiled-build.md): a copy is
compiled, and which attributes a class has is read from its code. Otherwise this does nothing, and no
compiler is needed.
"""

import ast
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

COMPILED: dict[str, tuple[str, ...]] = {
    "authn/verifier": (),
    "caching/two_generations": (),
    "ext_proc/decoding": (),
    "ext_proc/encoding": (),
    "fairness/stream_slots": ("StreamSlots",),
    "grpc_server/completion_queue/calls": ("Call", "RefusedCall", "SignedCalls", "ProcessCall"),
    "grpc_server/completion_queue/engine": ("CompletionQueueEngine",),
    "grpc_server/transport": (),
    "head_memory/fingerprint": (),
    "head_memory/memory": ("HeadMemory",),
    "request/admission": ("AdmissionControl",),
    "request/answers": ("Answer",),
    "request/authorization": ("Authorization",),
    "request/phases": ("Progress",),
    "request/responses": ("ResponseWatch",),
    "request/signature": ("Signature",),
    "request/stream": ("Stream",),
    "request/way": (),
    "sessions/credentials": ("CredentialStore",),
    "sessions/decisions": ("Decisions",),
    "sessions/revocation": ("DenyList",),
    "sessions/session": (),
    "sessions/table": ("SessionTable",),
    "signing/payload": (),
    "signing/signer": ("Signer",),
    "signing/sigv4": (),
    "telemetry/event": (),
    "telemetry/histogram": ("Histogram",),
    "telemetry/metrics": ("Metrics",),
    "telemetry/observer": ("Observer",),
    "telemetry/record": ("RequestRecord",),
    "values": (),
}
"""The modules that a warm request runs, and the classes of each that become native.

Attributes of these are found by their place.
"""

_DIRECTIVES = {
    "language_level": 3,
    "annotation_typing": False,  # or annotations would check exact types
}
_SETUP = """\
import json, sys
from Cython.Build import cythonize
from setuptools import Extension, setup

given = json.load(sys.stdin)
setup(
    name="extproc", packages=[], py_modules=[],
    ext_modules=cythonize(
        [Extension(name, [path], extra_compile_args=["-O2", "-g0"]) for name, path in given["modules"]],
        compiler_directives=given["directives"], quiet=True,
    ),
)
"""


def attributes(source: str, name: str) -> list[str]:
    """Return the attributes of a class: its ``__slots__``, else all that its methods store."""
    (found,) = (n for n in ast.parse(source).body if isinstance(n, ast.ClassDef) and n.name == name)
    for node in found.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            slots = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__slots__"
            assert slots, f"{name} has an attribute of the class"  # noqa: S101
            return list(ast.literal_eval(node.value))  # type: ignore[arg-type]
    stored = (
        node.attr
        for node in ast.walk(found)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    )
    return list(dict.fromkeys(stored))


def declarations(source: str, classes: tuple[str, ...]) -> str:
    """Return what Cython must know of a module's native classes (a ``.pxd`` file)."""
    lines = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and node.name in classes:
            lines.append(f"cdef class {node.name}({', '.join(map(ast.unparse, node.bases))}):")
            lines += [f"    cdef public object {name}" for name in attributes(source, node.name)]
            if not node.bases and not any(isinstance(each, ast.Assign) for each in node.body):
                lines.append("    cdef object __weakref__")  # as without ``__slots__`` in Python
    return "".join(f"{line}\n" for line in lines)


def compiled(root: Path, folder: Path) -> list[Path]:
    """Compile a copy of the source in ``folder``; return the extension modules, relative to it."""
    shutil.copytree(
        root / "extproc", folder / "extproc", ignore=shutil.ignore_patterns("__pycache__", "*.so")
    )
    for module, classes in COMPILED.items():
        path = folder / "extproc" / module
        if classes:
            path.with_suffix(".pxd").write_text(declarations(path.with_suffix(".py").read_text(), classes))
    (folder / "setup.py").write_text(_SETUP)
    modules = [(f"extproc.{module.replace('/', '.')}", f"extproc/{module}.py") for module in COMPILED]
    subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace", "--parallel", str(os.cpu_count())],
        cwd=folder,
        input=json.dumps({"modules": modules, "directives": _DIRECTIVES}),
        text=True,
        check=True,
    )
    made = [path.relative_to(folder) for path in sorted((folder / "extproc").rglob("*.so"))]
    assert len(made) == len(COMPILED), made  # noqa: S101
    return made


class CompiledBuild(BuildHookInterface[Any]):
    """Puts the extension modules into a wheel, if that is asked for."""

    def _is_asked_for(self) -> bool:
        return os.environ.get("EXTPROC_COMPILED") == "1" and self.target_name == "wheel"

    def dependencies(self) -> list[str]:
        """Return what an isolated build installs."""
        if not self._is_asked_for():
            return []
        lines = Path(self.root, "requirements/compiled.in").read_text().splitlines()
        return [line for line in lines if line and line[0] not in "#-"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile before the wheel is written; never for an editable install."""
        if not self._is_asked_for() or version == "editable":
            return
        self._folder = tempfile.TemporaryDirectory(prefix="extproc-compiled-")
        folder = Path(self._folder.name)
        for path in compiled(Path(self.root), folder):
            build_data["force_include"][str(folder / path)] = str(path)
        build_data["pure_python"], build_data["infer_tag"] = False, True

    def finalize(self, _version: str, _build_data: dict[str, Any], _artifact_path: str) -> None:
        """Remove the copy."""
        if hasattr(self, "_folder"):
            self._folder.cleanup()
