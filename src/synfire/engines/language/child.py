"""An engine's process: begun by a worker, ready after a while, ended together with the worker."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synfire.base.errors import PermanentError, TemporaryError
from synfire.base.log import LOGGER

ADDRESS = "engine.sock"
_TAIL_LINES = 20
_LINE_BYTES = 1 << 14
_END_S = 10.0
_PREFIX = "synfire-engine-"


class EngineChild:
    """Runs `script`, a file that is run for itself, with an `order` as JSON: it is to answer at `address`, and on this machine's
    `cores` alone. A socket, the lifeline, ties it to this process, and this process to it: it can be read when the child is gone. It
    gets the descriptors that it `keeps`, too, and is called `name` in the log.
    """

    def __init__(
        self,
        script: Path,
        order: Mapping[str, Any],
        cores: tuple[int, ...],
        python: str = sys.executable,
        keeps: tuple[int, ...] = (),
        name: str = "engine",
    ) -> None:
        """Raises `TemporaryError` when the machine has no room for another process, or no such `python` to run it."""
        self.lifeline, theirs = socket.socketpair()
        _sweep()
        self._folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
        self._name = name
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._said: dict[str, Any] | None = None
        whole = {**order, "address": self.address, "cores": cores, "lifeline": theirs.fileno()}
        try:
            self._process = subprocess.Popen(
                [python, "-P", str(script), json.dumps(whole)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(theirs.fileno(), *keeps),
                process_group=0,
            )
        except OSError as error:
            self.lifeline.close()
            self._remove()
            raise TemporaryError(f"an engine cannot be started: {error}; free processes or memory") from error
        finally:
            theirs.close()
        self._listening = threading.Thread(target=self._listen, daemon=True, name=f"words of engine {self.pid}")
        self._listening.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def address(self) -> str:
        """The Unix socket at which it answers."""
        return str(self._folder / ADDRESS)

    def ready(self) -> dict[str, Any]:
        """Wait until it is ready, however long it takes to load, and what it says then; at once when it was before. Raises
        `PermanentError` when it cannot be."""
        if self._said is not None:
            return self._said
        line = b""
        while not line.endswith(b"\n"):
            data = self.lifeline.recv(1 << 16)
            if not data:
                raise PermanentError(self.obituary())
            line += data
        said: dict[str, Any] = json.loads(line)
        if "error" in said:
            self._listening.join(_END_S)  # it leaves by itself
            self.end()
            raise PermanentError(said["error"] + self._words)
        self.lifeline.setblocking(False)
        self._said = said
        return said

    def obituary(self) -> str:
        """How it ended, with its last words; waits for its end."""
        code = self._process.wait()
        self._listening.join(_END_S)
        fate = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"left with exit code {code}"
        return f"the engine's process {self.pid} {fate}{self._words}"

    def end(self) -> None:
        """End it, and wait until its memory is given back. Ending twice is no error."""
        with contextlib.suppress(ProcessLookupError):
            if self.alive:
                os.killpg(self.pid, signal.SIGKILL)  # with what it has started
        self._process.wait(_END_S)
        self.lifeline.close()
        self._remove()

    def _listen(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stream:
            for line in iter(lambda: stream.readline(_LINE_BYTES), b""):
                self._tail.append(line.decode(errors="replace").rstrip())
                LOGGER.info("%s %d: %s", self._name, self.pid, self._tail[-1])

    @property
    def _words(self) -> str:
        return "; its last words:" + "".join(f"\n    {line}" for line in self._tail) if self._tail else ""

    def _remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def _sweep() -> None:
    """Remove the folders of workers that were killed together with their engines: nobody was left to do that."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        owner = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if owner.isdecimal() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(folder, ignore_errors=True)


def granted_cores() -> tuple[int, ...]:
    """The cores that language engines may use: all of this process's but one, which is left to gateways and other workers.

    `SYNFIRE_ENGINE_CORES` says how many instead. Raises `PermanentError` for a number that cannot be.
    """
    mine = sorted(os.sched_getaffinity(0))
    wanted = os.environ.get(CORES, "") or str(max(1, len(mine) - 1))
    if not wanted.isdecimal() or not 1 <= int(wanted) <= len(mine):
        raise PermanentError(f"{CORES} is {wanted!r}; it takes a number of cores from 1 to {len(mine)}")
    return tuple(mine[-int(wanted) :])


CORES = "SYNFIRE_ENGINE_CORES"
