"""How far something long has come, for people: bars on a terminal, sentences elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from synfire.cli.output import ERRORS
from synfire.hub.watcher import Watcher


class Bars(Watcher):
    """Bars on standard error, one below the other."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def begin(self, what: str, total: int | None, done: int = 0) -> None:
        self._task = self._progress.add_task(what, total=total, completed=done)

    def advance(self, count: int) -> None:
        if self._task is not None:
            self._progress.advance(self._task, count)

    def again(self, done: int) -> None:
        if self._task is not None:
            self._progress.reset(self._task, completed=done)

    def end(self) -> None:
        if self._task is not None:
            self._progress.stop_task(self._task)
        self._task = None

    def say(self, text: str) -> None:
        self._progress.console.print(text, markup=False, soft_wrap=True)


class Sentences(Watcher):
    """What is worth a sentence, on standard error."""

    def say(self, text: str) -> None:
        ERRORS.print(text, markup=False, soft_wrap=True)


@contextmanager
def watching(as_json: bool) -> Iterator[Watcher]:
    """Who watches for a user: nobody where JSON is wanted, bars on a terminal."""
    if as_json or not ERRORS.is_terminal:
        yield Watcher() if as_json else Sentences()
        return
    columns = TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    with Progress(*columns, TimeRemainingColumn(), console=ERRORS) as progress:
        yield Bars(progress)
