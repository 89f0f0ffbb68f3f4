"""``extproc schema``: its arguments."""

import json

import click


@click.command()
def schema() -> None:
    """Print the JSON Schema of the configuration, for editors.

    Editors with the YAML language server use it for files that begin with
    "# yaml-language-server: $schema=PATH". It says what a schema can say; "extproc check" says more.
    """
    from extproc.schema.json_schema import schema as document

    click.echo(json.dumps(document(), indent=2, ensure_ascii=False))
