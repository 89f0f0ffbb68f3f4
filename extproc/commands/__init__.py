"""The commands' work; ``extproc.cli`` only reads their arguments."""
