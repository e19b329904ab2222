"""What a server under load is: how it is started, asked, and understood."""

from __future__ import annotations

import http.client
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPMessage
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

import msgspec

from synfire.base.errors import PermanentError
from synfire.base.processes import end_with_parent
from synfire.ops import Array

VARIABLE = "SYNFIRE_BENCH_PEER"
"""The environment variable in which a hosted model finds its `Setup`."""

START_S = 120.0
"""How long a server may take until it answers: they import torch in several processes."""

_OWN_MODULES = {"PYTHONSAFEPATH": "1"}
"""Python then takes no modules from the folder in which the benchmark happens to be started."""

END_S = 15.0
"""How long it may take to leave before it is killed."""


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """How a server is set up: so many processes with the model, each with so many torch threads, and how many samples it may
    compute together (1 switches batching off). synfire alone has `gateways`: processes that take calls."""

    model: str
    workers: int = 1
    threads: int = 1
    batch: int = 1
    gateways: int = 1
    port: int = 0

    @classmethod
    def given(cls) -> Setup:
        """What the process was started with."""
        return msgspec.json.decode(os.environ[VARIABLE], type=cls)


class Server(ABC):
    """A server that can be measured; `package` is what has to be installed for it."""

    name: ClassVar[str]
    package: ClassVar[str]

    @property
    def installed(self) -> bool:
        return importlib.util.find_spec(self.package) is not None

    def setups(self, model: str) -> tuple[Setup, ...]:
        """What is tried; the best one counts, for throughput and for latency apart."""
        return (
            Setup(model=model),
            Setup(model=model, threads=2, batch=16),
            Setup(model=model, workers=2, batch=16),
            Setup(model=model, workers=2),
        )

    def words(self, setup: Setup) -> str:
        """The setup in the table."""
        batching = f"batches of {setup.batch}" if setup.batch > 1 else "no batching"
        return f"{setup.workers} × {setup.threads} threads, {batching}"

    @abstractmethod
    def command(self, setup: Setup, folder: Path) -> list[str]:
        """What starts it in the foreground, at port `setup.port` of 127.0.0.1; `folder` is for its files."""

    @abstractmethod
    def request(self, model: str, sample: Array) -> bytes:
        """The whole HTTP request that asks for one sample."""

    @abstractmethod
    def scores(self, headers: HTTPMessage, body: bytes) -> Array:
        """The class scores `(class,)` in an answer."""


def module(name: str) -> list[str]:
    """The command that runs a module of this package."""
    return [sys.executable, "-m", name]


@contextmanager
def running(server: Server, setup: Setup, probe: bytes) -> Iterator[str]:
    """The server as processes of their own, from when it answers `probe` until the end of the block; its URL.

    Raises `PermanentError` with the last of what it said when it does not answer.
    """
    with tempfile.TemporaryDirectory(prefix="synfire-peer-") as folder, tempfile.TemporaryFile() as words:
        placed = msgspec.structs.replace(setup, port=setup.port or free_port())
        environment = {**os.environ, VARIABLE: msgspec.json.encode(placed).decode(), **_OWN_MODULES}
        process = subprocess.Popen(
            server.command(placed, Path(folder)),
            stdout=words,
            stderr=words,
            stdin=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
            preexec_fn=end_with_parent,  # where the benchmark is killed, too
        )
        url = f"http://127.0.0.1:{placed.port}"
        try:
            _await(process, url, probe)
            yield url
        except PermanentError as error:
            words.seek(0)
            said = words.read().decode(errors="replace").strip()[-2000:]
            raise PermanentError(f"{server.name}, {server.words(setup)}: {error}; it said: {said}") from error
        finally:
            _end(process)


def ask(url: str, request: bytes, timeout_s: float = 30.0) -> tuple[HTTPMessage, bytes]:
    """The headers and the body of the answer to a whole HTTP request. Raises `PermanentError` unless its status is 200."""
    where = urlsplit(url)
    with socket.create_connection((where.hostname or "", where.port or 80), timeout_s) as connection:
        connection.sendall(request)
        answer = http.client.HTTPResponse(connection, method="POST")
        answer.begin()
        body = answer.read()
    if answer.status != http.client.OK:
        raise PermanentError(f"status {answer.status}: {body[:500].decode(errors='replace')}")
    return answer.headers, body


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens at now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _await(process: subprocess.Popen[bytes], url: str, probe: bytes) -> None:
    until_s, why = time.monotonic() + START_S, "nothing"
    while process.poll() is None and time.monotonic() < until_s:
        try:
            ask(url, probe)
            return
        except (OSError, http.client.HTTPException, PermanentError) as error:
            why = str(error)
            time.sleep(0.1)
    code = process.poll()
    ended = f"it left with exit code {code}" if code is not None else f"it does not answer after {START_S:.0f} s"
    raise PermanentError(f"{ended}, last heard: {why}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server and whatever it has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(END_S)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
