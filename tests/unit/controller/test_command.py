"""The command line of `extproc controller`."""

from click.testing import CliRunner

from extproc.cli import main
from support.tables import each_case


@each_case(
    ("arguments", "message"),
    [
        (["--namespace", "Mcp"], "--namespace: "),
        (["--namespace", "mcp", "--service", "a.b"], "--service: "),
        (["--namespace", "mcp", "--probes", "9465"], "--probes: "),
        (["--namespace", "mcp", "--settings", "/nonexistent.yaml"], "/nonexistent.yaml: "),
        ([], "--namespace"),
    ],
)
def test_bad_input_is_refused_before_anything_is_called(arguments, message):
    found = CliRunner().invoke(main, ["controller", "--kubeconfig", "/nonexistent", *arguments])
    assert found.exit_code == 2
    assert message in found.stderr


def test_a_missing_cluster_is_a_message():
    found = CliRunner().invoke(main, ["controller", "--kubeconfig", "/nonexistent", "--namespace", "mcp"])
    assert found.exit_code == 1
    assert "no cluster" in found.stderr
