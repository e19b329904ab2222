"""`synfire serve` as a process in a folder of its own, and the other verbs beside it: a soak sees what a user sees."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec

from synfire.base import paths
from synfire.base.errors import PermanentError, TemporaryError
from synfire.base.keys import VARIABLE
from synfire.base.processes import end_with_parent
from synfire.bench.soak.arrangement import Arrangement
from synfire.bench.soak.judgement import Violation
from synfire.bench.soak.processes import Seen
from synfire.bench.soak.strokes import Aim, Sight
from synfire.bench.soak.traces import Traces
from synfire.plan.plan import GATEWAY
from synfire.store import BlobStore
from synfire.wire.recovery import RecoveryRecord

READY_S = 120.0
"""How long a deployment may take to start on a busy machine; kernels may have to be compiled first."""

COMMAND_S = 180.0
"""How long any other verb may take, beyond what it is told to last: half a second on a quiet machine."""

STOP_S = 60.0
"""How long a deployment may take to stop."""

ALL = "1000000"
"""The most records that `synfire events` gives."""

TEMPORARY = 3
"""The exit code for what may be tried again."""

_PORT = ("--port", "0", "--grpc-port", "0", "--json")


class Ready(msgspec.Struct):
    """What `synfire serve --json` prints when it is ready."""

    url: str
    grpc: str
    metrics: str
    pid: int


class Worker(msgspec.Struct):
    """What `/api/workers` tells of a worker."""

    name: str
    plans: dict[str, list[str]] = {}
    ready: bool = False
    url: str | None = None
    requests: int | None = None
    sessions: int | None = None
    buffered_bytes: int | None = None


class Process(msgspec.Struct):
    """What `synfire ps` tells of a process."""

    name: str
    alive: bool
    host: str = ""


class Run(msgspec.Struct):
    """What `synfire ps` tells of a deployment."""

    workers: list[Process]
    roles: list[Process] = []


@dataclass(frozen=True)
class Done:
    """What a command printed as JSON, and its exit code."""

    words: tuple[str, ...]
    code: int
    said: Any
    errors: str

    def __str__(self) -> str:
        said = self.said.get("error", "") if isinstance(self.said, dict) else ""
        return f"synfire {' '.join(self.words)}: exit code {self.code} {said or self.errors}".strip()


class Served:
    """The deployment of one folder: its `home`, its temporary files, its log. It can be started again after it has ended."""

    def __init__(self, folder: Path, home: Path, arrangement: Arrangement) -> None:
        self.log = folder / "serve.log"
        self.traces = Traces(home, folder / "temporary")
        self._arrangement = arrangement
        self._environment = _environment(self.traces)
        self.commands: set[int] = set()
        """The processes of other verbs that run now."""
        self._beginning: list[str] = []
        self.starts = 0
        """How often it was started, and ready then."""
        self._process: asyncio.subprocess.Process | None = None
        self._ready: Ready | None = None

    @property
    def url(self) -> str:
        """Where the gateways answer."""
        return self._ready.url if self._ready is not None else ""

    @property
    def grpc(self) -> str:
        """Where they answer gRPC, `host:port`."""
        return self._ready.grpc if self._ready is not None else ""

    @property
    def pid(self) -> int | None:
        """The number of the process; None when it has ended."""
        if self._process is None or self._process.returncode is not None:
            return None
        return self._process.pid

    async def start(self) -> None:
        """Start it and wait until it is ready. Raises what it says when it does not start: `TemporaryError` or `PermanentError`."""
        self.traces.temporary.mkdir(exist_ok=True)
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *_command("serve", *self._arrangement.arguments, *_PORT),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=self._environment,
                start_new_session=True,  # Ctrl-C is for the soak, which ends it in order …
                preexec_fn=end_with_parent,  # … and where the soak is killed, it ends by itself
            )
        try:
            line = await asyncio.wait_for(self._first_line(), READY_S)
        except TimeoutError as error:
            raise PermanentError(
                f"the deployment is not ready after {READY_S:.0f} s; its log ends: {self.tail()}"
            ) from error
        try:
            self._ready = msgspec.json.decode(line, type=Ready)
        except msgspec.DecodeError as error:
            kind = TemporaryError if await self.ended() == TEMPORARY else PermanentError
            said = line.decode(errors="replace") or self.tail()
            raise kind(f"the deployment did not start: {said}") from error
        self.traces.listening(self._ready.url, self._ready.grpc)
        self.starts += 1

    async def ended(self) -> int:
        """Wait for the end of the process; its exit code, or minus the signal's number."""
        return await self._process.wait() if self._process is not None else 0

    async def stop(self) -> None:
        """`synfire stop`. Raises `Violation` unless the deployment then ends by itself, with exit code 0."""
        done = await self.command("stop")
        try:
            code = await asyncio.wait_for(self.ended(), STOP_S)
        except TimeoutError as error:
            raise Violation(f"{done}; serve is still there {STOP_S:.0f} s later") from error
        if done.code or code:
            raise Violation(f"{done}; serve left with exit code {code}")

    def kill(self) -> None:
        """End it at once, if it runs."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def command(self, *words: str, lasts_s: float = 0.0) -> Done:
        """Run another verb with `--json`. Raises `Violation` when it does not end, or ends in a bug."""
        self._beginning.append(words[0])
        try:
            process = await asyncio.create_subprocess_exec(
                *_command(*words, "--json"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=self._environment,
            )
            self.commands.add(process.pid)
        finally:
            self._beginning.remove(words[0])
        try:
            out, errors = await asyncio.wait_for(process.communicate(), COMMAND_S + lasts_s)
        except TimeoutError as error:
            raise Violation(f"synfire {' '.join(words)} did not end within {COMMAND_S + lasts_s:.0f} s") from error
        finally:
            if process.returncode is None:
                process.kill()
            self.commands.discard(process.pid)
        done = Done(words, process.returncode or 0, _json(out), errors.decode(errors="replace"))
        if done.code not in (0, 1, 2, 3):
            raise Violation(f"{done}")
        return done

    def runs(self, process: Seen) -> bool:
        """Whether it is a verb that the soak itself runs now, or has just begun: it may be there before its number is known."""
        return process.pid in self.commands or process.role in self._beginning

    async def workers(self) -> list[Worker]:
        """The workers, as the gateway tells of them. Raises `httpx.HTTPError` when it does not answer."""
        async with httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=5.0) as client:
            response = (await client.get("/api/workers")).raise_for_status()
        return msgspec.json.decode(response.content, type=list[Worker])

    async def ready(self) -> bool:
        """Whether calls are accepted, and every model can answer them."""
        try:
            async with httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=5.0) as client:
                return (await client.get("/v2/health/ready")).is_success
        except httpx.HTTPError:
            return False

    async def complete(self) -> bool:
        """Whether it is ready, with no fewer workers than there are at rest: then the loss of one costs no model its place."""
        try:
            there = sum(each.ready for each in await self.workers())
        except httpx.HTTPError:
            return False
        return there >= self._arrangement.crew["worker"][0] and await self.ready()

    async def records(self) -> list[RecoveryRecord]:
        """Every recovery on record. Raises `Violation` when they cannot be read."""
        done = await self.command("events", "--last", ALL)
        if done.code:
            raise Violation(str(done))
        return [msgspec.convert(each, RecoveryRecord) for each in done.said["events"]]

    async def sight(self, aim: Aim) -> Sight:
        """Who is there that a stroke with this aim can hit. Raises `Violation` when `synfire ps` does not tell."""
        if aim in ("gateway", "host"):
            return await self._listed()
        try:
            workers = sorted(each.name for each in await self.workers() if each.ready)
        except httpx.HTTPError:
            workers = []
        stores = [BlobStore(folder) for folder in (self.traces.home / "run").glob("*/blobs")]
        blobs = sorted(digest for store in stores for digest in store)
        return Sight(workers, blobs=blobs, models=self._arrangement.models)

    async def _listed(self) -> Sight:
        done = await self.command("ps")
        if done.code:
            raise Violation(str(done))
        runs = msgspec.convert(done.said["deployments"], list[Run])
        roles = [each.name for run in runs for each in run.roles if each.alive]
        hosts = {each.host for run in runs for each in run.workers if each.alive} - {""}
        return Sight((), sorted(name for name in roles if name.startswith(GATEWAY)), sorted(hosts))

    def tail(self, lines: int = 30) -> str:
        """The end of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    async def _first_line(self) -> bytes:
        assert self._process is not None
        assert self._process.stdout is not None
        return await self._process.stdout.readline()


def _command(*words: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "synfire", *words)


def _environment(traces: Traces) -> Mapping[str, str]:
    """The user's, with folders of its own for all but what is costly to make again: compiled kernels, measured costs."""
    inherited = {name: value for name, value in os.environ.items() if name != VARIABLE}
    return {
        **inherited,
        "SYNFIRE_HOME": str(traces.home),
        "SYNFIRE_CACHE": str(paths.cache().absolute()),
        "SYNFIRE_LOG": "info",
        "TMPDIR": str(traces.temporary),
    }


def _json(out: bytes) -> Any:
    try:
        return json.loads(out)
    except ValueError:
        return {}
