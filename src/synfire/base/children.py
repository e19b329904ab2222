"""Starting child processes of this package: each in a new interpreter, or forked from one that has loaded everything.

    spawned(words)            a new interpreter: a second or so until it has imported what it needs
    Template.start(words)     a fork of a process that waits for that, `synfire.deploy.forking`: milliseconds

A fork copies one thread only, and what others held stays locked for ever. So it is never this process that forks, which has
threads, but the template, which has none.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import IO, Protocol

import msgspec

from synfire.base.log import LOGGER

TEMPLATE, OF_WORKERS = "synfire.deploy.roles.template", "synfire.deploy.join.template"
"""The modules that say what templates fork: all processes of a deployment, and workers alone."""

READY = b"ready"
"""What a template says when it can fork."""

LONGEST_BYTES = 1 << 16
"""The longest order to a template: a command line."""

MOST_DESCRIPTORS = 64

_ANSWER_S = 10.0
"""A fork takes milliseconds; a template that has not answered by then hangs."""

_ROOM = 8192
"""Bytes kept free in the template's own command line, for those of what it becomes."""

_PR_SET_CHILD_SUBREAPER = 36


class Child(Protocol):
    """A process that was begun, and is this one's child."""

    @property
    def pid(self) -> int: ...
    @property
    def stderr(self) -> IO[bytes] | None: ...
    def wait(self) -> int: ...


Start = Callable[[Sequence[str], Sequence[int]], Child]
"""Begins a process, given its command line and the descriptors that it gets under the same numbers. Raises `OSError`."""


class Order(msgspec.Struct, frozen=True):
    """What a template is asked to begin: a command line, and the numbers of the descriptors that come with it, after that
    of its standard error."""

    words: list[str]
    numbers: list[int]


class Begun(msgspec.Struct, frozen=True):
    """What came of an order: the process, or why there is none."""

    pid: int
    error: str = ""


def spawned(words: Sequence[str], keeps: Sequence[int]) -> subprocess.Popen[bytes]:
    """Begin a process in a new interpreter, with a process group of its own and a pipe to its standard error."""
    return subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=tuple(keeps),
        env=_environment(),
        process_group=0,
    )


class Template:
    """A process that begins others by forking. While it is not ready, or gone, they are begun in a new interpreter instead.

    Made by `begin`; what it forks are children of this process, and outlive it.
    """

    def __init__(self, module: str, process: subprocess.Popen[bytes], link: socket.socket) -> None:
        self._module = module
        self._process = process
        self._link = link
        self._ready = False

    @classmethod
    def begin(cls, module: str = TEMPLATE) -> Template:
        """Begin it; it loads what it needs while this process goes on. Raises `OSError`."""
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # so that the forks become our children
        process, link = _begun(module)
        return cls(module, process, link)

    @property
    def pid(self) -> int:
        return self._process.pid

    def fileno(self) -> int:
        """What can be read from once it can fork, or never will."""
        return self._link.fileno()

    def start(self, words: Sequence[str], keeps: Sequence[int]) -> Child:
        """Begin a process; see `Start`."""
        if tuple(words[:2]) != (sys.executable, "-m") or not self._usable():
            return spawned(words, keeps)
        try:
            return self._forked(words, keeps)
        except (OSError, msgspec.DecodeError) as error:
            LOGGER.warning("the template process %d cannot fork (%s); it is replaced", self.pid, error)
            self._process.kill()
            return spawned(words, keeps)

    def renew(self) -> None:
        """Have what is begun from now on loaded anew, with the code that is installed then: until it has been, in a new interpreter each."""
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(OSError):  # then it is begun as soon as it is needed
            self._begin_again()

    def close(self) -> None:
        """End it; what it has begun goes on. Closing twice is no error."""
        self._process.kill()
        self._process.wait()
        self._link.close()

    def _usable(self) -> bool:
        if self._process.poll() is not None:
            self._begin_again()
        if not self._ready:
            with contextlib.suppress(BlockingIOError, ConnectionError):
                self._link.setblocking(False)
                self._ready = self._link.recv(len(READY)) == READY
        return self._ready

    def _begin_again(self) -> None:
        self._link.close()
        self._process, self._link = _begun(self._module)
        self._ready = False

    def _forked(self, words: Sequence[str], keeps: Sequence[int]) -> Child:
        order = msgspec.json.encode(Order(list(words), list(keeps)))
        reading, writing = os.pipe()
        try:
            self._link.settimeout(_ANSWER_S)
            socket.send_fds(self._link, [order], [writing, *keeps])
            begun = msgspec.json.decode(self._link.recv(LONGEST_BYTES), type=Begun)
            if begun.error:
                raise OSError(begun.error)
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        return _Fork(begun.pid, open(reading, "rb"))


class _Fork:
    """What a template has forked for this process, whose child it is."""

    def __init__(self, pid: int, stderr: IO[bytes]) -> None:
        self.pid = pid
        self.stderr = stderr

    def wait(self) -> int:
        """Wait for its end: its exit code, or minus the signal's number."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def _begun(module: str) -> tuple[subprocess.Popen[bytes], socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "synfire.deploy.template", module, str(theirs.fileno()), " " * _ROOM],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
            env=_environment(),
            process_group=0,
        )
    return process, ours


def _environment() -> dict[str, str]:
    """One thread a process: its share of the machine."""
    return {
        **os.environ,
        "NUMBA_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }
