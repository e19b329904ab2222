"""What a command compiles, measures and builds, for people: a bar for each on a terminal, nothing elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rich.errors import LiveError
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from synfire.base.telling import told_to
from synfire.cli.output import ERRORS


class Tasks:
    """A bar on standard error for each piece of work that is under way, as it is told; none when nothing is."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def tell(self, which: str, what: str, share: float | None) -> None:
        """See `synfire.base.telling.Tell`."""
        if share is not None and share >= 1:
            self._end(which)
            return
        if which not in self._tasks:
            self._tasks[which] = self._progress.add_task("")
        total = None if share is None else 1.0
        self._progress.update(
            self._tasks[which], description=f"{which}: {what}", total=total, completed=share or 0.0, refresh=True
        )
        with suppress(
            LiveError
        ):  # a bar of another kind is there already, and this version of rich draws one at a time
            self._progress.start()

    def _end(self, which: str) -> None:
        task = self._tasks.pop(which, None)
        if task is not None:
            self._progress.remove_task(task)
        if not self._tasks:
            self._progress.stop()


@contextmanager
def tasks_shown(quiet: bool) -> Iterator[None]:
    """Show the block's work while it lasts, where standard error is a terminal and nobody wants it `quiet`."""
    if quiet or not ERRORS.is_terminal:
        yield
        return
    columns = TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn()
    progress = Progress(*columns, console=ERRORS, transient=True)
    try:
        with told_to(Tasks(progress).tell):
            yield
    finally:
        progress.stop()
