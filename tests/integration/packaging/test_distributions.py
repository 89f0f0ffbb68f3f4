"""The wheel and the sdist, built from these files and used away from them."""

import os
import shutil
import site
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
IGNORED = shutil.ignore_patterns(".*", "__pycache__", "dist")


def build(folder, target):
    """Build both from the files in a folder, as an isolated build would: with hatchling alone."""
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--directory", str(target)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (wheel,), (sdist,) = target.glob("*.whl"), target.glob("*.tar.gz")
    return wheel, sdist


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    shutil.copytree(ROOT, folder / "checkout", ignore=IGNORED)
    return build(folder / "checkout", folder / "dist")


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

    def run(*command, **options):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        return subprocess.run(
            [folder / "environment/bin" / command[0], *command[1:]],
            cwd=folder,
            env={**environment, "TMPDIR": str(folder)},
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
            **options,
        )

    return run


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
    assert build(unpacked, tmp_path / "dist")[0].read_bytes() == wheel.read_bytes()
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


def test_the_installed_wheel_says_its_version_and_checks_a_configuration(installed):
    place = installed("python", "-c", "import extproc; print(extproc.__file__)").stdout
    assert "/environment/lib/" in place
    assert installed("extproc", "--version").stdout.startswith("extproc, version ")
    checked = installed("extproc", "check", "--config", str(ROOT / "envoy/aws-mcp/extproc.yaml"))
    assert checked.returncode == 0, checked.stderr


def test_the_installed_wheel_runs_the_demo(installed):
    done = installed("extproc", "demo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Everything was as expected." in done.stdout
