"""The commands in the documentation are ones that extproc has, with options that they take."""

import re
import shlex
from pathlib import Path

import click
import pytest

from extproc.cli import main
from support.tables import each_case

ROOT = Path(__file__).parents[3]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")])
BLOCK = re.compile(r"^( *)```(?:sh|bash|console|shell)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
ENDS = {"|", "||", "&&", "&", ";", "<", ">", ">>", "<<<", "(", ")", "2>", "2", "<("}


def commands(text):
    """Yield the arguments of each ``extproc`` in shell code, up to a pipe or redirection."""
    for _, block in BLOCK.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            # Values that a shell would compute are any word here.
            line = re.sub(r'"?\$\([^()]*\)"?', "computed", line)  # noqa: PLW2901
            lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
            lexer.whitespace_split = True
            try:
                words = list(lexer)
            except ValueError:
                continue  # a quote that ends on another line: not a command of ours
            for position, word in enumerate(words):
                if word == "extproc" and (position == 0 or words[position - 1] in ENDS):
                    rest = words[position + 1 :]
                    end = next((n for n, each in enumerate(rest) if each in ENDS), len(rest))
                    yield rest[:end]


FOUND = [(page, words) for page in PAGES for words in commands(page.read_text())]


def take(words):
    """Read a command as extproc would; raises for one that it does not have."""
    context = main.make_context("extproc", list(words), resilient_parsing=False)
    command, rest = main, [*context._protected_args, *context.args]
    while isinstance(command, click.Group) and rest:
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)
        rest = [*context._protected_args, *context.args]


@each_case(
    ("page", "words"), FOUND, ids=[f"{page.relative_to(ROOT)}-{n}" for n, (page, _) in enumerate(FOUND)]
)
def test_a_command_in_the_documentation_is_one_of_extproc(page, words):
    take(words)


def test_there_are_commands_and_a_wrong_one_is_found():
    assert len(FOUND) > 60
    [words] = commands("```sh\nextproc check --confg extproc.yaml | tee log\n```\n")
    with pytest.raises(click.NoSuchOption):
        take(words)
