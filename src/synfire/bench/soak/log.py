"""The deployment's log, read as it grows: whether it tells of something that nobody foresaw."""

from __future__ import annotations

from pathlib import Path

from synfire.bench.soak.judgement import Violation

UNFORESEEN = ("Traceback (most recent call last)", "was never retrieved", "unforeseen ")
"""What stands in a log only where something happened that nobody wrote an error for."""

BEFORE, SHOWN = 3, 40
"""How many lines before it, and altogether, are shown."""


class Log:
    """A log file and how far it was read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0

    def read(self) -> None:
        """Read what has come since the last time. Raises `Violation` for what nobody foresaw, with the lines around it."""
        with self._path.open("rb") as log:
            log.seek(self._read)
            lines = log.read().decode(errors="replace").splitlines()
            self._read = log.tell()
        for number, line in enumerate(lines):
            if any(words in line for words in UNFORESEEN):
                shown = lines[max(0, number - BEFORE) :][:SHOWN]
                raise Violation("the log tells of something unforeseen:\n" + "\n".join(shown))
