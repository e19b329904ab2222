"""How SIGTERM ends a command that runs an event loop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from synfire.cli.entry import Terminated


@contextmanager
def cancelled_at_sigterm() -> Iterator[None]:
    """SIGTERM leaves the block as Ctrl-C does: it cancels the task that the block is in, and the block then ends in `Terminated`.

    Raised at once, as elsewhere, it would come up in whatever compiled code the loop is in (uvloop, gRPC), which loses it or crashes.
    """
    loop, task, told = asyncio.get_running_loop(), asyncio.current_task(), asyncio.Event()

    def end() -> None:
        told.set()
        if task is not None:
            task.cancel()

    loop.add_signal_handler(signal.SIGTERM, end)
    try:
        yield
    except asyncio.CancelledError as error:
        if told.is_set():
            raise Terminated from error
        raise
