"""One cluster for all tests here; each test has the namespace for itself."""

import pytest

from support.kube_cluster import RIGHTS, Controller, chart, eventually, running, with_kinds, written


@pytest.fixture(scope="session")
def cluster():
    with running() as cluster:
        with_kinds(cluster)
        cluster.apply(*chart(*RIGHTS))
        yield cluster


@pytest.fixture
def settings(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("listen: {grpc: 0.0.0.0:50051, insecure_plaintext: true}\n")
    return path


@pytest.fixture
def controller(cluster, settings):
    running = Controller(cluster, settings)
    yield running
    cluster.kubectl(
        "delete", "mcpremoteproxies,mcpservers,mcpexternalauthconfigs,mcpoidcconfigs", "--all", "-n", "mcp"
    )
    cluster.kubectl("delete", "configmaps", "-n", "mcp", "-l", "extproc/config=true")
    eventually(lambda: not written(cluster))
    assert running.stop() == 0
