"""One process of a deployment on this machine: begun, watched, ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol, Self

import msgspec

from synfire.base.children import Child, Start, Template, spawned
from synfire.base.errors import PermanentError, TemporaryError
from synfire.base.log import LOGGER
from synfire.base.processes import starved
from synfire.deploy.launch import Launch
from synfire.wire.messages import Failure, error_of

_TAIL_LINES = 30
_ANNOUNCEMENT_BYTES = 65536


class Announcement(msgspec.Struct, frozen=True):
    """What a process says when it is ready; or `kind` and `text` say why it will not be."""

    name: str
    pid: int
    addresses: list[str] = []
    http: str = ""
    kind: str = ""
    text: str = ""


class Process(Protocol):
    """A worker's process as the deployment sees it, whoever started it."""

    name: str

    @property
    def pid(self) -> int: ...
    @property
    def ended(self) -> bool: ...
    @property
    def running(self) -> bool: ...
    @property
    def starved(self) -> bool | None: ...
    async def ready(self, timeout_s: float) -> Announcement: ...
    async def exited(self) -> int: ...
    async def obituary(self) -> str: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...
    async def end(self, grace_s: float) -> int: ...


class ChildProcess:
    """A process that ends with this one: a socket, the lifeline, ties their lives. `title` is what messages call it.

    Its standard error goes to this process's log, or, with `echoes`, as it is to this one's standard error; the last lines are
    kept for the report of a crash.
    """

    def __init__(self, name: str, title: str, process: Child, lifeline: socket.socket, echoes: bool = False) -> None:
        self.name = name
        self.title = title
        self.lifeline = lifeline
        self.announcement: Announcement | None = None
        self._process = process
        self._echoes = echoes
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._descriptor = os.pidfd_open(process.pid)  # signals and waiting can then never meet another process
        self._end = asyncio.create_task(self._watch(), name=f"process of {title}")

    @classmethod
    def begin(
        cls,
        name: str,
        command: Callable[[int], Sequence[str]],
        title: str = "",
        keeps: Sequence[int] = (),
        echoes: bool = False,
        start: Start = spawned,
    ) -> Self:
        """Start the process, in a running event loop; `ready` waits for it. `command` makes its command line, given the
        descriptor of its end of the lifeline; `keeps` are more descriptors that it gets; `start` begins it.

        It has a process group of its own: Ctrl-C shall reach this process alone, which then ends it in order.
        Raises `TemporaryError` when the machine has no room for another process.
        """
        title = title or name
        ours, theirs = socket.socketpair()
        try:
            process = start(command(theirs.fileno()), (theirs.fileno(), *keeps))
        except OSError as error:
            ours.close()
            raise TemporaryError(f"{title} cannot be started: {error}; free processes or memory") from error
        finally:
            theirs.close()
        ours.setblocking(False)
        return cls(name, title, process, ours, echoes)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether the process has ended, also where nobody was told yet."""
        return not self.running or bool(select.select([self._descriptor], [], [], 0)[0])

    @property
    def starved(self) -> bool:
        """Whether it is kept from a processor, and not hanging."""
        return starved(self.pid)

    @property
    def running(self) -> bool:
        return not self._end.done()

    async def ready(self, timeout_s: float | None) -> Announcement:
        """Wait until the process says that it is ready, however long that takes where `timeout_s` is None.

        Raises the error that it says instead, `PermanentError` with the end of its standard error when it left,
        `TemporaryError` when it took longer than `timeout_s`.
        """
        try:
            line = await asyncio.wait_for(self._first_line(), timeout_s)
        except TimeoutError:
            raise TemporaryError(
                f"{self.title} was not ready within {timeout_s} s; is the machine overloaded?"
            ) from None
        if not line.endswith(b"\n"):
            raise PermanentError(await self.obituary())
        self.announcement = msgspec.json.decode(line, type=Announcement)
        if self.announcement.kind:
            raise error_of(Failure("", self.announcement.kind, self.announcement.text))
        return self.announcement

    async def exited(self) -> int:
        """Wait for the end of the process; its exit code, or minus the signal's number."""
        return await asyncio.shield(self._end)

    async def obituary(self) -> str:
        """How the process ended, with its last words, once it has."""
        fate = await self.fate()
        tail = "".join(f"\n    {line}" for line in self._tail) or " nothing"
        return f"{self.title} (pid {self.pid}) {fate}; its last words on standard error:{tail}"

    async def fate(self) -> str:
        """How the process ended, in a word or few: what it did, or what was done to it."""
        code = await self.exited()
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"left with exit code {code}"

    def terminate(self) -> None:
        """Ask the process to drain and leave."""
        self.signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the process at once."""
        self.signal(signal.SIGKILL)

    async def end(self, grace_s: float) -> int:
        """Wait for the process to leave; kill it, by its id, when it is still there after `grace_s`."""
        try:
            return await asyncio.wait_for(self.exited(), grace_s)
        except TimeoutError:
            LOGGER.warning("%s did not leave within %s s and is killed", self.title, grace_s)
            self.signal(signal.SIGKILL)
            return await self.exited()
        finally:
            self.lifeline.close()

    async def _first_line(self) -> bytes:
        loop, line = asyncio.get_running_loop(), b""
        while not line.endswith(b"\n"):
            data = await loop.sock_recv(self.lifeline, _ANNOUNCEMENT_BYTES)
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

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; one that has ended gets none."""
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
                if self._echoes:
                    print(text, file=sys.stderr, flush=True)
                else:
                    LOGGER.info("%s: %s", self.name, text)
        finally:
            transport.close()


class WorkerProcess(ChildProcess):
    """A worker's process."""

    @classmethod
    def start(cls, launch: Launch, start: Start = spawned) -> WorkerProcess:
        """Begin it, in a running event loop. Raises as `begin` does."""
        return cls.begin(launch.name, launch.command, f"worker {launch.name}", start=start)


async def loaded(template: Template) -> Start:
    """How the template begins processes, once it can."""
    loop, heard = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(template.fileno(), heard.set)
    await heard.wait()
    loop.remove_reader(template.fileno())
    return template.start


async def _line(stream: asyncio.StreamReader) -> bytes:
    try:
        return await stream.readline()
    except ValueError:  # longer than the reader's limit: take what is there
        return await stream.read(1 << 16)
