"""The process of a function, as its worker sees it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

from synfire.base.errors import TemporaryError, UserError
from synfire.engines.language.child import EngineChild, granted_cores
from synfire.formats.weights import digest_of
from synfire.functions.describing import BEGIN, interpreter
from synfire.functions.messages import Conversation, Message
from synfire.ops import Array
from synfire.ops.python_function import PythonFunction

_MODULE = "process"
_LEAVING_S = 2.0
"""How long a process may take to end that has been told to, or has said its last."""


class FunctionChild:
    """A process that has loaded the function, or will have: it says `ready`, or `error`. Nothing here blocks. `ended` can be read once it has
    ended, whoever else has the other end of its socket still.

    Raises `UserError` for files that are gone or changed, and `TemporaryError` where no process can be begun.
    """

    def __init__(self, function: PythonFunction, threads: int) -> None:
        self._finishes = bool(function.triton)
        order = {
            "module": _MODULE,
            "path": str(_verified(function)),
            "function": function.function,
            "triton": function.triton,
            "threads": threads,
        }
        try:
            self._ours, theirs = socket.socketpair()
            with theirs:
                whole = {**order, "talk": theirs.fileno()}
                name, keeps = f"function {function.function}", (theirs.fileno(),)
                self._child = EngineChild(BEGIN, whole, granted_cores(), interpreter(), keeps, name)
            self.ended = os.pidfd_open(self._child.pid)
        except OSError as error:
            raise TemporaryError(f"a function cannot be started: {error}; free processes or open files") from error
        self._ours.setblocking(False)
        self._talk = Conversation(self._ours)

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def alive(self) -> bool:
        return self._child.alive

    @property
    def unsent(self) -> bool:
        """Whether there is more to `flush` when it can be written to."""
        return self._talk.unsent

    @property
    def gone(self) -> bool:
        """Whether it has ended, having said all that has come by now, and no more."""
        return _readable(self.ended, 0)

    def fileno(self) -> int:
        return self._ours.fileno()

    def ask(self, company: Mapping[str, Mapping[str, Array]]) -> None:
        """Hand it calls, by their names, to be computed together. One that is gone does not hear it, and tells by its end."""
        with contextlib.suppress(OSError):
            for left, (call, arrays) in zip(range(len(company))[::-1], company.items(), strict=True):
                self._talk.send({"call": call, "more": left > 0}, arrays)

    def cancel(self, call: str) -> None:
        """Tell it that nobody waits for a call any more; one that computes a call at a time hears that too late."""
        with contextlib.suppress(OSError):
            self._talk.send({"cancel": call})

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._talk.flush()

    def come(self) -> Iterator[Message]:
        """What it has said since. Raises `Ended` when it is gone."""
        return self._talk.come()

    def kill(self) -> None:
        """Have it end soon; from any thread."""
        with contextlib.suppress(ProcessLookupError):
            if self.alive:
                os.killpg(self.pid, signal.SIGKILL)

    def obituary(self) -> str:
        """How it ended. It has said its last; what it does still, and what it has begun, is ended, too."""
        self._await_end()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        return self._child.obituary()

    def end(self, idle: bool = False) -> None:
        """End it, and wait until it has; one that is idle may finish by itself. Ending twice is no error."""
        if idle and self._finishes:
            with contextlib.suppress(OSError):
                self._ours.shutdown(socket.SHUT_WR)
                self._await_end()
        self._child.end()
        self._ours.close()
        if self.ended >= 0:
            os.close(self.ended)
            self.ended = -1

    def _await_end(self) -> None:
        """Wait until it ends by itself, for a while."""
        _readable(self.ended, _LEAVING_S)


def _verified(function: PythonFunction) -> Path:
    """The function's file. Raises `UserError` where that, or one that belongs to it, is not what it was."""
    folder = Path(function.folder)
    for name, digest in function.files:
        if not (folder / name).is_file() or digest_of(folder / name) != digest:
            raise UserError(
                f"{folder / name} is gone or has changed since it was served; put it back, or serve it again"
            )
    return folder / function.files[0][0]


def _readable(descriptor: int, timeout_s: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(timeout_s * 1e3))
