"""A hold on one process, and on no later one of the same number."""

from __future__ import annotations

import os
import select
import signal
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from synfire.base.errors import TemporaryError, UserError
from synfire.base.processes import born


@dataclass(frozen=True)
class Process:
    """A process of a deployment, as its record has it; `born` tells it from a later one with the same number."""

    name: str
    pid: int
    born: str

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return bool(self.born) and born(self.pid) == self.born


class Grip:
    """Signals a process through a descriptor that can never come to mean another one; a context manager.

    Raises `TemporaryError` when the process has ended: the record is then about to be renewed.
    """

    def __init__(self, process: Process) -> None:
        self.process = process
        try:
            self._descriptor = os.pidfd_open(process.pid)
        except ProcessLookupError as error:
            raise self._gone() from error
        # The descriptor is open: from here on the number cannot have been given away between the look and the signal.
        if not process.alive:
            os.close(self._descriptor)
            raise self._gone()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def send(self, number: signal.Signals) -> bool:
        """Send the signal; false where the process has ended. Raises `UserError` when it is somebody else's."""
        if self.ended_within(0):  # a signal to one that nobody has buried yet would seem to arrive
            return False
        try:
            signal.pidfd_send_signal(self._descriptor, number)
        except ProcessLookupError:
            return False
        except PermissionError as error:
            raise UserError(
                f"{self.process.name} (process {self.process.pid}) belongs to another user; let them inject the fault"
            ) from error
        return True

    def ended_within(self, seconds: float) -> bool:
        """Wait for the end of the process; whether it came."""
        return bool(select.select([self._descriptor], [], [], max(0.0, seconds))[0])

    def _gone(self) -> TemporaryError:
        return TemporaryError(
            f"{self.process.name} (process {self.process.pid}) has ended already; `synfire ps` shows what runs now"
        )
