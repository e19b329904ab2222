"""One deadline per call, whatever the call awaits in turn."""

from __future__ import annotations

import asyncio
from types import TracebackType

from synfire.base.errors import DeadlineExceeded
from synfire.gateway.patience import Patience


class Deadline:
    """Ends what is awaited inside `with deadline("while …"):` when the time is over, by `DeadlineExceeded`.

    Between the blocks it waits for the next one to raise, so a generator may yield there. Like `asyncio.timeout`, of
    which it would take one for each block, it leaves cancellations that others asked for alone. Close it when done.
    `model` is whose request it is; all that share a `patience` share a timer.
    """

    def __init__(self, request: str, left_s: float, model: str = "", patience: Patience | None = None) -> None:
        self._request = request
        self._model = model
        self._when = ""
        self._passed = False
        self._ended_here = False
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._patience = patience or Patience()
        self._patience.begin(self, left_s)

    def close(self) -> None:
        """It is met, or of no use any more."""
        self._patience.end(self)

    def __call__(self, when: str) -> Deadline:
        self._when = when
        return self

    def __enter__(self) -> None:
        if self._passed:
            raise self._error()
        self._task = asyncio.current_task()
        self._cancelling = self._task.cancelling() if self._task else 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if self._ended_here and task is not None:
            self._ended_here = False
            if task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
                raise self._error() from error

    def overdue(self) -> None:
        """The time is over."""
        self._passed = True
        if self._task is not None:
            self._ended_here = True
            self._task.cancel()

    def _error(self) -> DeadlineExceeded:
        of = f" of model {self._model!r}" if self._model else ""
        return DeadlineExceeded(
            f"request {self._request}{of} passed its deadline {self._when}; allow it more time, or send less"
        )
