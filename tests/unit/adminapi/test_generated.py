"""The generated code is what the proto file says."""

import importlib.resources
import re
from pathlib import Path

import grpc_tools.protoc

ROOT = Path(__file__).parents[3]
PROTO = "extproc/admin/v1/admin.proto"


def test_the_committed_code_is_what_make_protos_generates(tmp_path):
    includes = [f"-I{ROOT / 'protos'}", f"-I{importlib.resources.files('grpc_tools') / '_proto'}"]
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    assert grpc_tools.protoc.main(["protoc", *includes, *outputs, PROTO]) == 0
    generated = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert [path.name for path in generated] == ["admin_pb2.py", "admin_pb2.pyi", "admin_pb2_grpc.py"]
    for path in generated:
        committed = ROOT / path.relative_to(tmp_path)
        assert committed.read_text() == path.read_text(), f"{committed.name}: run make protos"


def test_everything_in_the_proto_file_is_explained():
    previous = ""
    for line in (ROOT / "protos" / PROTO).read_text().splitlines():
        text = line.strip()
        named = text.startswith(("message ", "service ", "rpc ", "enum "))
        numbered = re.search(r" = [0-9]+;", text)
        if named or numbered:
            assert previous.startswith("//"), line
        previous = text
