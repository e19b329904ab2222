"""Who is told how far something long has come: a progress bar, a log, or nobody."""

from __future__ import annotations


class Watcher:
    """Told nothing to nobody; a subclass shows it. What is begun is ended, whatever happens in between."""

    def begin(self, what: str, total: int | None, done: int = 0) -> None:
        """A part begins: `total` bytes where they are known, of which `done` are there from an earlier try."""

    def advance(self, count: int) -> None:
        """So many more bytes of it."""

    def again(self, done: int) -> None:
        """It begins anew, with so many bytes."""

    def end(self) -> None:
        """The part is done, or was given up."""

    def say(self, text: str) -> None:
        """A sentence for people."""
