"""The wheel and the sdist, built from these files and used away from them."""

import json
import os
import re
import shutil
import site
import subprocess
import sys
import tarfile
import urllib.request
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from extproc.demo.ports import is_taken
from extproc.demo.settings import FIXED
from support.processes import running_with

ROOT = Path(__file__).parents[3]
IGNORED = shutil.ignore_patterns(".*", "__pycache__", "dist")


def build(folder, target, *options):
    """Build both from the files in a folder, as an isolated build would: with hatchling alone."""
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--directory", str(target), *options],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return sorted(target.iterdir(), key=lambda path: path.suffix != ".whl")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    shutil.copytree(ROOT, folder / "checkout", ignore=IGNORED)
    return build(folder / "checkout", folder / "dist")


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel: its programs, and the variables under which they run."""

    programs: Path
    environment: dict[str, str]

    def __call__(self, program, *arguments):
        return subprocess.run(
            [self.programs / program, *arguments],
            cwd=self.environment["TMPDIR"],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """A new environment with the wheel in it; what it depends on is read from this one."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "environment")
    (packages,) = (folder / "environment").glob("lib/python*/site-packages")
    # A path in a .pth file is only a path: this environment's own .pth files, with the checkout, are not read.
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    python = folder / "environment/bin/python"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--no-deps",
        "--no-index",
        "--quiet",
    ]
    subprocess.run([*pip, str(built[0])], check=True)
    # The demo starts Envoy by its command.
    (folder / "environment/bin/envoy").symlink_to(Path(sys.executable).parent / "envoy")

    (folder / "tmp").mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return Installed(folder / "environment/bin", {**environment, "TMPDIR": str(folder / "tmp")})


def test_two_builds_are_the_same_bytes(built, tmp_path):
    shutil.copytree(ROOT, tmp_path / "elsewhere", ignore=IGNORED)
    for path in (tmp_path / "elsewhere").rglob("*"):
        path.chmod(path.stat().st_mode & 0o700)  # another umask
        os.utime(path, (0, 10**9))
    again = build(tmp_path / "elsewhere", tmp_path / "dist")
    assert [path.name for path in again] == [path.name for path in built]
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in built]


def _files(folder):
    """Return the files of a folder, without what Python compiled of them."""
    return [path for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix != ".pyc"]


def test_the_wheel_is_extproc_and_nothing_else(built):
    with zipfile.ZipFile(built[0]) as wheel:
        names = set(wheel.namelist())
    assert {name.split("/")[0].split("-")[0] for name in names} == {"extproc", "extproc_sigv4"}
    files = _files("extproc")
    sources = {str(path.relative_to(ROOT)) for path in files}
    # The console shows the documentation where there is no network.
    sources |= {f"extproc/console/{path.relative_to(ROOT)}" for path in _files("docs")}
    assert sources == {name for name in names if name.startswith("extproc/")}


def test_from_the_sdist_the_same_wheel_is_built(built, tmp_path):
    wheel, sdist = built
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    (again,) = build(unpacked, tmp_path / "dist", "--target", "wheel")
    assert again.read_bytes() == wheel.read_bytes()
    # It has what a developer needs: tests, documents, locks.
    for name in (
        "tests",
        "docs",
        "envoy",
        "protos",
        "requirements",
        "bench",
        "Makefile",
        "Dockerfile",
        "CONTRIBUTING.md",
    ):
        assert (unpacked / name).exists(), name


def test_what_the_image_copies_builds_the_same_wheel(built, tmp_path):
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*"
    (tmp_path / "src").mkdir()
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            for source in line.split()[1:-1]:
                assert f"!{source}" in ignored, f"{source} does not reach the builder"
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, tmp_path / "src" / source, ignore=IGNORED)
                else:
                    shutil.copy(ROOT / source, tmp_path / "src")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", tmp_path / "wheels"],
        cwd=tmp_path / "src",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = (tmp_path / "wheels").iterdir()
    assert wheel.read_bytes() == built[0].read_bytes()


def test_the_installed_wheel_says_its_version_and_checks_a_configuration(installed):
    place = installed("python", "-c", "import extproc; print(extproc.__file__)").stdout
    assert "/environment/lib/" in place
    assert installed("extproc", "--version").stdout.startswith("extproc, version ")
    checked = installed("extproc", "check", "--config", str(ROOT / "envoy/aws-mcp/extproc.yaml"))
    assert checked.returncode == 0, checked.stderr


@pytest.fixture(scope="module")
def fixed():
    """Whether the demo can have its fixed ports: another process may use some of them."""
    return not any(is_taken(getattr(FIXED, part)) for part in ("idp", "sts", "mcp", "extproc", "envoy"))


@pytest.fixture(scope="module")
def demo(installed, fixed):
    """What the installed demo prints while it stays up; at SIGTERM it ends cleanly, and all its processes."""
    command = [installed.programs / "extproc", "demo", "--keep", *(["--ports", "fixed"] if fixed else [])]
    environment = {**installed.environment, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        printed = ""
        while "Configuration and logs" not in printed:
            line = process.stdout.readline()
            assert line, printed
            printed += line
        yield printed
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert running_with(environment["TMPDIR"]) == []
    assert list(Path(environment["TMPDIR"]).iterdir()) == []


def test_the_installed_wheel_runs_the_demo(demo):
    assert demo.count(" yes ") == 10
    assert " NO " not in demo
    assert "SERVING" in demo
    assert "DemoAdmin as demo-admin" in demo
    assert "DemoDeveloper as demo-developer" in demo


def pasted(printed, *patterns):
    """Paste parts of what was printed into a shell, as a user does; return what that prints."""
    code = "\n".join(re.search(pattern, printed, re.MULTILINE | re.DOTALL)[0] for pattern in patterns)
    return subprocess.run(["bash", "-c", code], capture_output=True, text=True, timeout=30, check=True).stdout


def test_the_kept_demo_prints_commands_that_work(demo):
    # From TOKEN= to the first curl of the MCP endpoint.
    assert "assumed-role/DemoAdmin/demo-admin" in pasted(demo, r"^TOKEN=.*?\n\ncurl .*?\n\n")
    assert "SERVING" in pasted(demo, r"^[^\n]* -m extproc health [^\n]*$")
    logs = pasted(demo, r"^TOKEN=.*?\n\n", r"# One request in three logs.*?\n\n")
    names = {line.partition(".log:")[0].rpartition("/")[2] for line in logs.splitlines()}
    assert names >= {"audit", "envoy", "mcp"}


def _metadata(url):
    """The resource metadata, found as MCP clients do from the address of the endpoint."""
    base, path = url[: url.index("/mcp")], "/.well-known/oauth-protected-resource/mcp"
    with urllib.request.urlopen(base + path, timeout=10) as answer:
        return json.load(answer)


def test_with_fixed_ports_clients_find_the_demo_at_both_names_of_this_machine(fixed, demo):
    if not fixed:
        pytest.skip("another process uses one of the demo's fixed ports")
    assert "claude mcp add --transport http extproc-demo http://localhost:10000/mcp" in demo
    for url in ("http://localhost:10000/mcp", "http://127.0.0.1:10000/mcp"):
        document = _metadata(url)
        assert document["resource"] == url
        assert document["authorization_servers"] == ["http://localhost:9000"]
    discovery = "http://localhost:9000/.well-known/openid-configuration"
    with urllib.request.urlopen(discovery, timeout=10) as found:
        assert json.load(found)["issuer"] == "http://localhost:9000"
