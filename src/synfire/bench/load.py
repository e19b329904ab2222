"""Load on a gateway from a process of its own, with a client that costs little beside what it measures.

`python -m synfire.bench.load` reads a `Job` as JSON from standard input and writes `Measured` to standard output.
"""

from __future__ import annotations

import asyncio
import base64
import random
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec
import uvloop

from synfire.base.errors import PermanentError
from synfire.base.keys import authorization
from synfire.ops import Array
from synfire.wire import oip

MARGIN_S = 120.0
"""Beyond a job's own length: start of the process, and requests that take long on a busy machine."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """`requests` are whole HTTP requests in base64, by name. They are sent `rounds` times in turns over one connection,
    and each, for `seconds`, over `concurrency` connections at once; a 0 leaves that part out. In turns, those that `urls` names go
    to another server than `url`, over a connection of its own.

    The order is another one in each round, by the `seed`: what comes behind a heavy request finds caches that it has emptied.
    """

    url: str
    requests: dict[str, str]
    rounds: int = 0
    seconds: float = 0.0
    concurrency: int = 1
    urls: dict[str, str] = {}
    seed: int = 0


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds of each answered request, by name: alone and in turns, or under load; answers per second under load; and how many
    seconds of a processor this process took for each."""

    turns: dict[str, list[float]] = {}
    loaded: dict[str, list[float]] = {}
    requests_s: dict[str, float] = {}
    work_s: dict[str, float] = {}


def infer_request(
    url: str, model: str, inputs: Mapping[str, Array], id: str = "", parameters: Mapping[str, Any] | None = None
) -> str:
    """The HTTP request of an inference with binary tensors, in base64."""
    body, length = oip.build_infer_request(inputs, id=id, parameters=parameters)
    lines = [
        f"POST /v2/models/{model}/infer HTTP/1.1",
        f"Host: {urlsplit(url).netloc}",
        f"Content-Length: {len(body)}",
        f"{oip.HEADER_LENGTH}: {length}",
        *(f"{name}: {value}" for name, value in authorization().items()),
    ]
    return base64.b64encode("\r\n".join([*lines, "", ""]).encode() + body).decode()


def measure(job: Job) -> Measured:
    """Run the job in a process of its own. Raises `PermanentError` with what it said when it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "synfire.bench.load"],
        input=msgspec.json.encode(job),
        capture_output=True,
        timeout=MARGIN_S + len(job.requests) * job.seconds + job.rounds,
        check=False,
    )
    if done.returncode:
        raise PermanentError(f"the load generator failed: {done.stderr.decode(errors='replace').strip()[-2000:]}")
    return msgspec.json.decode(done.stdout, type=Measured)


class _Connection(asyncio.Protocol):
    """One keep-alive connection with one request at a time."""

    def __init__(self) -> None:
        self._buffer = b""
        self._answer: asyncio.Future[float] | None = None
        self._transport: Any = None
        self._sent_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def ask(self, request: bytes) -> asyncio.Future[float]:
        """Send a request; the result is the seconds until the whole answer was there."""
        self._answer = asyncio.get_running_loop().create_future()
        self._sent_s = time.perf_counter()
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found or len(body) < _content_length(head):
            return
        self._buffer = b""
        assert self._answer is not None
        if head.split(b" ", 2)[1] == b"200":
            self._answer.set_result(time.perf_counter() - self._sent_s)
        else:
            self._answer.set_exception(PermanentError(f"the gateway answered {self._buffer or head + body!r}"))

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(PermanentError(f"the gateway closed the connection: {error}"))

    def close(self) -> None:
        self._transport.close()


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def _run(job: Job) -> Measured:
    requests = {name: base64.b64decode(text) for name, text in job.requests.items()}
    order = list(requests)
    random.Random(job.seed).shuffle(order)
    turns = await _turns(job, requests) if job.rounds else {}
    loaded, rates, work = {}, {}, {}
    for name in order if job.seconds else ():
        before_s = time.process_time()
        loaded[name], rates[name] = await _loaded(job, requests[name])
        work[name] = (time.process_time() - before_s) / max(len(loaded[name]), 1)
    return Measured(turns=turns, loaded=loaded, requests_s=rates, work_s=work)


async def _connect(url: str) -> _Connection:
    where = urlsplit(url)
    _, connection = await asyncio.get_running_loop().create_connection(
        _Connection, where.hostname or "", where.port or 80
    )
    return connection


async def _turns(job: Job, requests: Mapping[str, bytes]) -> dict[str, list[float]]:
    """One request after the other, all names in every round; the first rounds warm up."""
    connections = {url: await _connect(url) for url in {job.url, *job.urls.values()}}
    found: dict[str, list[float]] = {name: [] for name in requests}
    order, shuffled = list(requests), random.Random(job.seed)
    for round_ in range(-3, job.rounds):
        shuffled.shuffle(order)
        for name in order:
            seconds = await connections[job.urls.get(name, job.url)].ask(requests[name])
            if round_ >= 0:
                found[name].append(seconds)
    for connection in connections.values():
        connection.close()
    return found


async def _loaded(job: Job, request: bytes) -> tuple[list[float], float]:
    """Every connection sends its next request when its last is answered."""
    connections = [await _connect(job.url) for _ in range(job.concurrency)]
    found: list[float] = []
    start_s = time.perf_counter()

    async def send(connection: _Connection) -> None:
        while time.perf_counter() - start_s < job.seconds:
            found.append(await connection.ask(request))

    await asyncio.gather(*(send(connection) for connection in connections))
    elapsed_s = time.perf_counter() - start_s
    for connection in connections:
        connection.close()
    return found, len(found) / elapsed_s


def write_whole(content: bytes) -> None:
    """Write to standard output; where Python is told not to buffer it, its own `write` may stop on the way."""
    with open(sys.stdout.fileno(), "wb", closefd=False) as out:
        out.write(content)


if __name__ == "__main__":
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    write_whole(msgspec.json.encode(uvloop.run(_run(job))))
