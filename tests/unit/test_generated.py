"""The generated code is what the proto files say."""

import importlib.resources
import re
from pathlib import Path

import grpc_tools.protoc

ROOT = Path(__file__).parents[2]
PROTO = "extproc/admin/v1/admin.proto"


ENVOY = "extproc/ext_proc/envoy"


def test_the_committed_code_is_what_make_protos_generates(tmp_path):
    includes = [f"-I{ROOT / 'protos'}", f"-I{importlib.resources.files('grpc_tools') / '_proto'}"]
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi")]
    envoys = [str(path.relative_to(ROOT / "protos")) for path in (ROOT / "protos" / ENVOY).glob("*.proto")]
    assert grpc_tools.protoc.main(["protoc", *includes, *outputs, *envoys, PROTO]) == 0
    generated = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    committed = (path for path in (ROOT / "extproc").rglob("*_pb2*") if path.suffix in (".py", ".pyi"))
    assert generated == {path.relative_to(ROOT) for path in committed}
    for path in generated:
        assert (ROOT / path).read_text() == (tmp_path / path).read_text(), f"{path}: run make protos"


def test_everything_in_the_proto_file_is_explained():
    previous = ""
    for line in (ROOT / "protos" / PROTO).read_text().splitlines():
        text = line.strip()
        named = text.startswith(("message ", "service ", "rpc ", "enum "))
        numbered = re.search(r" = [0-9]+;", text)
        if named or numbered:
            assert previous.startswith("//"), line
        previous = text
