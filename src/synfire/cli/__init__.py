"""The command line: one file per verb."""

from synfire.cli.entry import main

__all__ = ["main"]
