"""What the commands do, behind the thin ``extproc.cli``."""
