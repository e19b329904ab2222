"""One timer per call, whatever the call awaits in turn."""

from __future__ import annotations

import asyncio
from types import TracebackType

from synfire.base.errors import DeadlineExceeded


class Deadline:
    """Ends what is awaited inside `with deadline("while …"):` when the time is over, by `DeadlineExceeded`.

    Between the blocks it waits for the next one to raise, so a generator may yield there. Like `asyncio.timeout`, of
    which it would take one for each block, it leaves cancellations that others asked for alone. Close it when done.
    """

    def __init__(self, request: str, left_s: float) -> None:
        self._request = request
        self._when = ""
        self._passed = False
        self._ended_here = False
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(max(0.0, left_s), self._pass)

    def close(self) -> None:
        """Forget the timer."""
        self._timer.cancel()

    def __call__(self, when: str) -> Deadline:
        self._when = when
        return self

    def __enter__(self) -> None:
        if self._passed:
            raise self._error()
        self._task = asyncio.current_task(self._loop)
        self._cancelling = self._task.cancelling() if self._task else 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if self._ended_here and task is not None:
            self._ended_here = False
            if task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
                raise self._error() from error

    def _pass(self) -> None:
        self._passed = True
        if self._task is not None:
            self._ended_here = True
            self._task.cancel()

    def _error(self) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"request {self._request} passed its deadline {self._when}; allow it more time, or send less"
        )
