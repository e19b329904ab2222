"""One worker process on this machine: begun, watched, ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from synfire.base import paths
from synfire.base.errors import PermanentError, TemporaryError
from synfire.base.log import LOGGER

_TAIL_LINES = 30
_ANNOUNCEMENT_BYTES = 65536


class Announcement(msgspec.Struct, frozen=True):
    """What a worker says when it is ready."""

    name: str
    pid: int
    addresses: list[str]
    http: str = ""


class WorkerProcess:
    """A worker that ends with this process: a socket, the lifeline, ties their lives.

    Its standard error goes to this process's log; the last lines are kept for the report of a crash.
    """

    def __init__(self, name: str, process: subprocess.Popen[bytes], lifeline: socket.socket) -> None:
        self.name = name
        self.announcement: Announcement | None = None
        self._process = process
        self._lifeline = lifeline
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._descriptor = os.pidfd_open(process.pid)  # signals and waiting can then never meet another process
        self._end = asyncio.create_task(self._watch(), name=f"worker process {name}")

    @classmethod
    def start(
        cls, name: str, deployment: str, address: str, http: str = "", settings: Mapping[str, Any] | None = None
    ) -> WorkerProcess:
        """Start the process, in a running event loop; `ready` waits for it.

        Raises `TemporaryError` when the machine has no room for another process.
        """
        ours, theirs = socket.socketpair()
        arguments = [sys.executable, "-m", "synfire.worker", "--name", name, "--deployment", deployment]
        arguments += ["--listen", address, "--lifeline", str(theirs.fileno()), *(["--http", http] if http else [])]
        arguments += ["--settings", msgspec.json.encode(dict(settings or {})).decode()]
        try:
            process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(theirs.fileno(),),
                env={**os.environ, **_environment()},
            )
        except OSError as error:
            ours.close()
            raise TemporaryError(f"worker {name} cannot be started: {error}; free processes or memory") from error
        finally:
            theirs.close()
        ours.setblocking(False)
        return cls(name, process, ours)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether the process has ended, also where nobody was told yet."""
        return not self.running or bool(select.select([self._descriptor], [], [], 0)[0])

    @property
    def starved(self) -> bool:
        """Whether a thread of the process is ready to run: it is kept from a processor, and not hanging."""
        tasks = Path(f"/proc/{self.pid}/task")
        with contextlib.suppress(OSError):  # it has ended meanwhile
            return any(each.read_text().rpartition(")")[2].split()[0] == "R" for each in tasks.glob("*/stat"))
        return False

    @property
    def running(self) -> bool:
        return not self._end.done()

    async def ready(self, timeout_s: float) -> Announcement:
        """Wait until the worker says that it is ready.

        Raises `PermanentError` with the end of its standard error when it left instead, `TemporaryError` when it took
        longer than `timeout_s`.
        """
        try:
            line = await asyncio.wait_for(self._first_line(), timeout_s)
        except TimeoutError:
            raise TemporaryError(
                f"worker {self.name} was not ready within {timeout_s} s; is the machine overloaded?"
            ) from None
        if not line.endswith(b"\n"):
            raise PermanentError(await self.obituary())
        self.announcement = msgspec.json.decode(line, type=Announcement)
        return self.announcement

    async def exited(self) -> int:
        """Wait for the end of the process; its exit code, or minus the signal's number."""
        return await asyncio.shield(self._end)

    async def obituary(self) -> str:
        """How the process ended, in words, once it has."""
        code = await self.exited()
        why = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"left with exit code {code}"
        tail = "".join(f"\n    {line}" for line in self._tail) or " nothing"
        return f"worker {self.name} (pid {self.pid}) {why}; its last words on standard error:{tail}"

    def terminate(self) -> None:
        """Ask the process to drain and leave."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the process at once."""
        self._signal(signal.SIGKILL)

    async def end(self, grace_s: float) -> int:
        """Wait for the process to leave; kill it, by its id, when it is still there after `grace_s`."""
        try:
            return await asyncio.wait_for(self.exited(), grace_s)
        except TimeoutError:
            LOGGER.warning("worker %s did not leave within %s s and is killed", self.name, grace_s)
            self._signal(signal.SIGKILL)
            return await self.exited()
        finally:
            self._lifeline.close()

    async def _first_line(self) -> bytes:
        loop, line = asyncio.get_running_loop(), b""
        while not line.endswith(b"\n"):
            data = await loop.sock_recv(self._lifeline, _ANNOUNCEMENT_BYTES)
            if not data:
                break
            line += data
        return line

    async def _watch(self) -> int:
        """Read standard error until the process closes it, then wait for its end."""
        await self._read_stderr()
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
        return self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, number)

    async def _read_stderr(self) -> None:
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), self._process.stderr
        )
        try:
            while line := await _line(reader):
                text = line.decode(errors="replace").rstrip()
                self._tail.append(text)
                LOGGER.info("%s: %s", self.name, text)
        finally:
            transport.close()


async def _line(stream: asyncio.StreamReader) -> bytes:
    try:
        return await stream.readline()
    except ValueError:  # longer than the reader's limit: take what is there
        return await stream.read(1 << 16)


def _environment() -> dict[str, str]:
    """One thread a worker: its share of the machine; kernels compiled once and kept."""
    return {
        "NUMBA_CACHE_DIR": os.environ.get("NUMBA_CACHE_DIR") or str(paths.cache() / "numba"),
        "NUMBA_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }
