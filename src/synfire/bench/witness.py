"""Load that checks every answer: a closed loop a model, from a process of its own, for as long as it is wanted.

`python -m synfire.bench.witness` reads a `Job` as a line of JSON from standard input, writes an empty line when all
connections have answers, goes on until its input ends, and writes what each connection has `Seen` as MessagePack.
"""

from __future__ import annotations

import asyncio
import base64
import random
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import urlsplit

import msgspec
import numpy as np
import uvloop

from synfire.base.errors import PermanentError, TemporaryError
from synfire.bench.load import infer_request, write_whole
from synfire.ops import Array
from synfire.wire import oip

ID = "witness-0000000000"
"""Stands for a request's id, which is another one in each; all are of its length."""

SESSION = "session-0000000000"
"""Stands for a session's name, which is another one whenever the session is begun."""

PATIENCE_S = 20.0
"""A request that is not answered after so long is lost."""

LINGER_S = 0.2
"""How long a connection listens at the end for answers that nobody asked for."""

WARM = 5
"""Answers of each connection before the job counts as begun."""

RIGHT, WRONG, LOST = range(3)

_COMPLAINTS = 5
_READY_S, _END_S = 60.0, 60.0


class Case(msgspec.Struct, frozen=True):
    """A whole HTTP request in base64, with `ID` for its id, and the bytes of all outputs of the right answer, in base64.

    One that does not come `first` follows the case before it, in the same session.
    """

    request: str
    answer: str
    first: bool = True

    @classmethod
    def of(cls, url: str, model: str, inputs: dict[str, Array], answer: dict[str, Array]) -> Case:
        """The case of one sample with a batch axis."""
        return cls(infer_request(url, model, inputs, ID), _encoded(answer))

    @classmethod
    def session(
        cls, url: str, model: str, calls: Sequence[tuple[dict[str, Array], dict[str, Array]]]
    ) -> tuple[Case, ...]:
        """The cases of a session, from the inputs and the answer of each of its calls."""

        def parameters(number: int) -> dict[str, str | bool]:
            ends = number == len(calls) - 1
            return {"sequence_id": SESSION, "sequence_start": number == 0, "sequence_end": ends}

        return tuple(
            cls(infer_request(url, model, inputs, ID, parameters(i)), _encoded(answer), i == 0)
            for i, (inputs, answer) in enumerate(calls)
        )


class Job(msgspec.Struct, frozen=True):
    """The cases of each model, or of each connection by another name, which are sent in an order that the seed decides.

    A request is lost after `patience_s`; `pause_s` after one has ended comes the next.
    """

    url: str
    cases: dict[str, list[Case]]
    seed: int = 0
    patience_s: float = PATIENCE_S
    pause_s: float = 0.0


class Seen(msgspec.Struct, frozen=True):
    """What one connection saw: when each request was sent and when that ended, on the machine's monotonic clock, in seconds,
    as raw doubles; how it ended; answers beyond the asked ones; and what the first lost requests were told."""

    sent: bytes
    ended: bytes
    verdicts: bytes
    duplicated: int
    complaints: list[str]

    @property
    def sent_s(self) -> Array:
        return np.frombuffer(self.sent, np.float64)

    @property
    def ended_s(self) -> Array:
        return np.frombuffer(self.ended, np.float64)

    @property
    def verdict(self) -> Array:
        return np.frombuffer(self.verdicts, np.uint8)


class Witness:
    """The job in a process of its own, from `begin` to `stop`, which tells what was seen. `words` is its standard error."""

    def __init__(self, process: subprocess.Popen[bytes], words: IO[bytes]) -> None:
        self._process = process
        self._words = words

    def begin(self, job: Job) -> None:
        """Wait for the first answers. Raises `PermanentError` with what the process said when they do not come."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(job) + b"\n")
        self._process.stdin.flush()
        if self._process.stdout.readline() != b"\n":
            raise self._failure("it did not begin")

    def stop(self) -> dict[str, Seen]:
        """End the load once all its requests have ended. Raises `PermanentError` with what it said when it failed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        told = self._process.stdout.read()
        try:
            return msgspec.msgpack.decode(told, type=dict[str, Seen])
        except msgspec.DecodeError as error:
            raise self._failure(f"{error} after {len(told)} bytes") from error

    def _failure(self, what: str) -> PermanentError:
        code = self._process.wait(_END_S)
        self._words.seek(0)
        words = self._words.read().decode(errors="replace").strip()[-2000:]
        return PermanentError(f"the load generator failed: {what}; it left with exit code {code} and said: {words}")


@contextmanager
def witness(job: Job) -> Iterator[Witness]:
    """The load, under way; at the end of the block its process is gone. Raises as `Witness.begin` does."""
    command = [sys.executable, "-m", "synfire.bench.witness"]
    pipe = subprocess.PIPE
    with (
        tempfile.TemporaryFile() as words,
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=words) as process,
    ):
        try:
            begun = Witness(process, words)
            begun.begin(job)
            yield begun
        finally:
            process.kill()


@dataclass(frozen=True)
class _Answer:
    status: bytes
    id: str
    body: bytes


class _Named(msgspec.Struct):
    id: str = ""


_NAMED = msgspec.json.Decoder(_Named)


class _Connection(asyncio.Protocol):
    """One keep-alive connection with one request at a time; counts answers that no request waits for. `over` once it was closed."""

    def __init__(self) -> None:
        self.duplicated = 0
        self.over = False
        self._buffer = b""
        self._waiting: asyncio.Future[_Answer] | None = None
        self._asked = ""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def ask(self, id: str, request: bytes) -> asyncio.Future[_Answer]:
        self._waiting, self._asked = asyncio.get_running_loop().create_future(), id
        self._transport.write(request)
        return self._waiting

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (answer := self._next()) is not None:
            asked = self._waiting is not None and not self._waiting.done()
            if not asked or (answer.status == b"200" and answer.id != self._asked):
                self.duplicated += 1
            elif self._waiting is not None:
                self._waiting.set_result(answer)

    def connection_lost(self, error: Exception | None) -> None:
        self.over = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionResetError(f"the gateway closed the connection: {error}"))

    def close(self) -> None:
        self._transport.close()

    def _next(self) -> _Answer | None:
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return None
        fields = dict(_fields(head))
        length = int(fields.get(b"content-length", b"0"))
        if len(rest) < length:
            return None
        body, self._buffer = rest[:length], rest[length:]
        status = head.split(b" ", 2)[1]
        if status != b"200":
            return _Answer(status, "", body)
        json_length = int(fields.get(oip.HEADER_LENGTH.lower().encode(), b"0"))
        if not json_length:
            return _Answer(status, self._asked, body)  # another server's: it knows no ids
        return _Answer(status, _NAMED.decode(body[:json_length]).id, body[json_length:])


def _fields(head: bytes) -> Iterator[tuple[bytes, bytes]]:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        yield name.lower(), value.strip()


class _Loop:
    """Sends one model's cases one after the other, and keeps what comes of each."""

    def __init__(self, job: Job, name: str) -> None:
        where = urlsplit(job.url)
        self._place = (where.hostname or "", where.port or 80)
        self._sessions = list(_sessions(job.cases[name]))
        self._rng = random.Random(f"{job.seed}-{name}")
        self._patience_s, self._pause_s = job.patience_s, job.pause_s
        self._sent, self._ended, self._verdicts = array("d"), array("d"), array("B")
        self._duplicated = 0
        self._complaints: list[str] = []
        self.warm = asyncio.Event()

    async def run(self, over: asyncio.Event) -> Seen:
        connection = await self._connect()
        while not over.is_set():
            session = _numbered(SESSION, len(self._sent))
            for request, right in self._rng.choice(self._sessions):
                if connection.over:  # it was closed between two requests, which is no harm
                    connection = await self._another(connection)
                if await self._send(connection, request.replace(SESSION.encode(), session), right) == LOST:
                    connection = await self._another(connection)
                    break  # a session does not outlive a call that is lost
                if over.is_set():
                    break
                # The event loop counts in milliseconds from when its turn began, so that it wakes a moment too early.
                while (left_s := self._ended[-1] + self._pause_s - time.monotonic()) > 0:
                    await asyncio.sleep(left_s)
        await asyncio.sleep(LINGER_S)
        connection.close()
        return self._seen(connection)

    async def _send(self, connection: _Connection, request: bytes, right: bytes) -> int:
        number = len(self._sent)
        id = _numbered(ID, number)
        self._sent.append(time.monotonic())
        verdict = await self._ended_as(connection, id.decode(), request.replace(ID.encode(), id), right)
        self._ended.append(time.monotonic())
        self._verdicts.append(verdict)
        if number == WARM:
            self.warm.set()
        return verdict

    async def _ended_as(self, connection: _Connection, id: str, request: bytes, right: bytes) -> int:
        try:
            answer = await asyncio.wait_for(connection.ask(id, request), self._patience_s)
        except (TimeoutError, ConnectionError) as error:
            return self._lost(str(error) or f"no answer within {self._patience_s:g} s")
        if answer.status != b"200":
            return self._lost(f"status {answer.status.decode()}: {answer.body.decode(errors='replace')}")
        return RIGHT if answer.body == right else WRONG

    def _lost(self, why: str) -> int:
        if len(self._complaints) < _COMPLAINTS:
            self._complaints.append(why)
        return LOST

    async def _another(self, connection: _Connection) -> _Connection:
        self._duplicated += connection.duplicated
        connection.close()
        return await self._connect()

    async def _connect(self) -> _Connection:
        """A connection, once the gateway takes one. Raises `TemporaryError` when it takes none for long."""
        loop, until_s = asyncio.get_running_loop(), time.monotonic() + PATIENCE_S
        while True:
            try:
                begun = loop.create_connection(_Connection, *self._place)
                return (await asyncio.wait_for(begun, self._patience_s))[1]
            except OSError as error:
                if time.monotonic() > until_s:
                    raise TemporaryError(f"the gateway at {self._place} takes no connections: {error}") from error
                await asyncio.sleep(0.01)

    def _seen(self, connection: _Connection) -> Seen:
        duplicated = self._duplicated + connection.duplicated
        return Seen(self._sent.tobytes(), self._ended.tobytes(), self._verdicts.tobytes(), duplicated, self._complaints)


def _encoded(answer: dict[str, Array]) -> str:
    return base64.b64encode(b"".join(oip.encode_raw(array) for array in answer.values())).decode()


def _sessions(cases: Iterable[Case]) -> Iterator[tuple[tuple[bytes, bytes], ...]]:
    """Requests and right answers that are sent one after the other; most stand alone."""
    found: list[list[tuple[bytes, bytes]]] = []
    for each in cases:
        if each.first:
            found.append([])
        found[-1].append((base64.b64decode(each.request), base64.b64decode(each.answer)))
    return (tuple(each) for each in found)


def _numbered(name: str, number: int) -> bytes:
    """Another name of the same length."""
    return f"{name[:-10]}{number:010d}".encode()


async def _run(job: Job) -> dict[str, Seen]:
    over = asyncio.Event()
    loops = {name: _Loop(job, name) for name in job.cases}
    running = [asyncio.create_task(each.run(over)) for each in loops.values()]
    warm = asyncio.gather(*(each.warm.wait() for each in loops.values()))
    awaited: list[asyncio.Future[Any]] = [warm, *running]
    await asyncio.wait(awaited, timeout=_READY_S, return_when=asyncio.FIRST_COMPLETED)
    if not warm.done():
        await asyncio.gather(*(each for each in running if each.done()))  # why it failed, if it did
        raise PermanentError(f"not every model answered {WARM} requests within {_READY_S:.0f} s")
    write_whole(b"\n")
    end = asyncio.create_task(asyncio.to_thread(sys.stdin.buffer.read))
    await asyncio.wait([end, *running], return_when=asyncio.FIRST_COMPLETED)
    over.set()
    return dict(zip(loops, await asyncio.gather(*running), strict=True))


if __name__ == "__main__":
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)
    write_whole(msgspec.msgpack.encode(uvloop.run(_run(job))))
