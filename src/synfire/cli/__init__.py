"""The command line: one file per verb."""

from synfire.cli.app import main

__all__ = ["main"]
