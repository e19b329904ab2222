"""Plans as running things on this machine: worker processes, and connections to them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from synfire.base import paths
from synfire.base.errors import SynfireError, TemporaryError, UserError
from synfire.base.log import LOGGER
from synfire.base.settings import read_settings
from synfire.control.record import RecoveryLog
from synfire.control.suspicion import Heartbeats
from synfire.deploy.healing import Healing
from synfire.deploy.heartbeat import Heartbeat
from synfire.deploy.hosting import Parts, hostings
from synfire.deploy.process import WorkerProcess
from synfire.deploy.recoveries import LocalRecoveries
from synfire.gateway.peer import WorkerPeer
from synfire.gateway.route import WorkerRoute
from synfire.graph import Graph, flatten
from synfire.ops import Array
from synfire.plan import Plan
from synfire.wire import gaps
from synfire.wire.links import Limits, unlink
from synfire.wire.messages import Checkpoint, Description, Unhost
from synfire.wire.stream import Packet
from synfire.worker.settings import Settings as WorkerSettings

_LONGEST_DIRECTORY = 80


@dataclass(frozen=True)
class Settings:
    """How a local deployment is run."""

    ready_s: float = 60.0
    """How long a worker may take to be ready, in seconds. An import on a cold, busy machine takes some."""

    stop_s: float = 35.0
    """How long a worker may take to leave after SIGTERM before it is killed, in seconds: its own `drain_s` and some."""

    http: str = "127.0.0.1:0"
    """Where workers answer the Open Inference Protocol, `host:port`; empty: nowhere. Port 0 finds a free one."""

    heal: bool = True
    """Whether lost workers are replaced, and the calls that they held are replayed."""

    heartbeats: Heartbeats = field(default_factory=Heartbeats)
    """How workers beat, and when their silence is a failure."""

    prove_s: float = 10.0
    """How often stages whose workers are idle do their known-answer tests, in seconds. Each takes a millisecond or few."""

    spares: int = 0
    """How many warm workers without a stage are kept; they take over faster than a new one, which is started else."""

    prepare: bool = True
    """Whether spares build every stage beforehand, which costs them memory, and makes them take over in the time of a message."""

    def __post_init__(self) -> None:
        if min(self.ready_s, self.stop_s, self.prove_s) <= 0:
            raise UserError(
                f"ready_s is {self.ready_s}, stop_s {self.stop_s} and prove_s {self.prove_s}; all are seconds above 0"
            )

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Settings:
        """Settings by name. Raises `UserError` for a name that is no setting."""
        return read_settings(cls, "deployment", values)


@dataclass(eq=False)
class RunningWorker:
    """A worker process and this gateway's connection to it. `failure` says why it is gone, if it is."""

    process: WorkerProcess
    peer: WorkerPeer
    address: str
    http: str
    watching: asyncio.Task[None] | None = None
    failure: SynfireError | None = None


class LocalDeployment:
    """Models on worker processes of this machine; leaving the block drains the workers and removes every trace.

        async with LocalDeployment({"digits": (graph, plan)}) as deployment:
            async for part in deployment.routes["digits"].answer(call): ...

    Workers are named by the plans and shared between them. When one dies, its stages move to a spare, or to a new worker,
    and the calls that it held are replayed: nobody is told. With `heal` off its models are not ready from then on, and their
    calls fail at once, with the reason.
    """

    def __init__(
        self,
        models: Mapping[str, tuple[Graph, Plan]] | None = None,
        settings: Settings | None = None,
        worker_settings: Mapping[str, Any] | None = None,
        services: Mapping[str, Mapping[str, str]] | None = None,
        log: RecoveryLog | None = None,
    ) -> None:
        self.id = uuid.uuid4().hex[:8]
        self.who = f"gateway-{self.id}"
        self.settings = settings or Settings()
        self.workers: dict[str, RunningWorker] = {}
        self.routes: dict[str, WorkerRoute] = {}
        self.models = {name: (flatten(graph), plan) for name, (graph, plan) in (models or {}).items()}
        self.services = dict(services or {})
        self.parts: dict[str, Parts] = {}
        self.answers: dict[tuple[str, str], str] = {}
        self._worker_settings = dict(worker_settings or {})
        self._limits: Limits = WorkerSettings.of(self._worker_settings).links
        self._directory: Path | None = None
        self._stopping = False
        self._ids = itertools.count(1)
        self._proving: asyncio.Task[None] | None = None
        self._leaving: list[RunningWorker] = []
        self._watchers: list[Callable[[str, SynfireError], None]] = []
        self._heartbeat = Heartbeat(self.settings.heartbeats, self._suspects, self._starves)
        self._followers: list[Callable[[], None]] = []
        self.recoveries = LocalRecoveries(self.id, self.settings.spares, self._idle, log or RecoveryLog())
        self._healing = Healing(self, self.settings.spares, self.recoveries.keep) if self.settings.heal else None

    async def __aenter__(self) -> LocalDeployment:
        try:
            await self.start_workers(name for _, plan in self.models.values() for name in plan.workers)
            for name, (graph, plan) in list(self.models.items()):
                await self.add(name, graph, plan)
            if self._healing is not None:
                self._proving = asyncio.create_task(self._prove_now_and_then(), name="known-answer tests")
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def on_change(self, act: Callable[[], None]) -> None:
        """Call `act` when another worker is there, or a model's calls go another way."""
        self._followers.append(act)

    def changed(self) -> None:
        """Tell those who follow."""
        for act in self._followers:
            act()

    def on_worker_lost(self, act: Callable[[str, SynfireError], None]) -> None:
        """Call `act` with the worker's name and the reason when a worker has died."""
        self._watchers.append(act)

    async def start_workers(self, names: Iterable[str]) -> None:
        """Start those workers that do not run yet, all at the same time."""
        missing = [name for name in dict.fromkeys(names) if name not in self.workers]
        starting = [asyncio.create_task(self._start(name)) for name in missing]
        await asyncio.to_thread(gaps.warm)  # for this process's own frames, while the workers start
        results = await asyncio.gather(*starting, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def add(self, model: str, graph: Graph, plan: Plan) -> WorkerRoute:
        """Host a model and give its route. Raises what the first refusing worker says, and then hosts nothing of it."""
        await self.start_workers(plan.workers)
        flat = flatten(graph)
        self.parts[model] = {}
        try:
            addresses = {name: self._living(name).address for name in plan.workers}
            for each in hostings(flat, plan, addresses, self.services.get(model), parts=self.parts[model]):
                hosted = await self._living(each.worker).peer.host(each.host, each.graph)
                self.answers[model, each.host.stage] = hosted.answer
            for name in plan.workers:
                self._living(name)
        except SynfireError:
            self.unhost(model)
            raise
        self.models[model] = (flat, plan)
        self.routes[model] = WorkerRoute(
            graph, plan, self.peers, self.who, protected=self._healing is not None, ids=self._ids
        )
        if self._healing is not None:
            self._healing.model_added(plan)
        return self.routes[model]

    async def remove(self, model: str) -> None:
        """Host a model no longer; its calls in flight fail."""
        if self._healing is not None:
            self._healing.model_removed(model)
        del self.models[model], self.parts[model]
        self.answers = {key: answer for key, answer in self.answers.items() if key[0] != model}
        route = self.routes.pop(model)
        route.fail(TemporaryError(f"model {model!r} is being unloaded; try again later"))
        self.unhost(model)

    def unhost(self, model: str) -> None:
        """Have every worker drop the model's stages, also those that it was only about to take over."""
        for worker in list(self.workers.values()):
            with contextlib.suppress(SynfireError):  # a worker that is gone hosts nothing
                worker.peer.send(Packet(Unhost(model)))

    async def until_warm(self) -> None:
        """Wait until nothing is being recovered, and every spare is ready to take over any stage."""
        if self._healing is not None:
            await self._healing.controller.until(lambda state: state.warm)

    @property
    def peers(self) -> dict[str, WorkerPeer]:
        """The connections to the workers, by name."""
        return {name: worker.peer for name, worker in self.workers.items()}

    async def describe(self) -> dict[str, Description]:
        """What each worker hosts and did so far."""
        living = {name: worker for name, worker in self.workers.items() if worker.peer.lost is None}
        found = await asyncio.gather(*(worker.peer.describe() for worker in living.values()))
        return {
            name: msgspec.structs.replace(said, url=worker.http)
            for (name, worker), said in zip(living.items(), found, strict=True)
        }

    async def stop(self) -> None:
        """Drain every worker, end its process, and remove the sockets. Stopping twice is no error."""
        self._stopping = True
        if self._healing is not None:
            await self._healing.controller.close()
        if self._proving is not None:
            self._proving.cancel()
        self._heartbeat.close()
        for worker in self.workers.values():
            worker.process.terminate()
        workers = list(dict.fromkeys([*self.workers.values(), *self._leaving]))
        await asyncio.gather(*(worker.process.end(self.settings.stop_s) for worker in workers))
        for worker in workers:
            if worker.watching is not None:
                await worker.watching
            worker.peer.close()
            unlink(worker.address)
        self.workers.clear()
        self.routes.clear()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def _living(self, name: str) -> RunningWorker:
        """The worker. Raises `TemporaryError` when it was lost."""
        if name not in self.workers:
            raise TemporaryError(f"worker {name} was lost while a model was being hosted on it; try again")
        return self.workers[name]

    async def _start(self, name: str) -> None:
        address = f"unix:{self._run_directory() / name}.sock"
        process = WorkerProcess.start(name, self.id, address, self.settings.http, self._worker_settings)
        try:
            announcement = await process.ready(self.settings.ready_s)
            peer = await WorkerPeer.reach(name, address, self.id, self.who, self._limits)
        except BaseException:
            process.terminate()
            await process.end(self.settings.stop_s)
            raise
        worker = self.workers[name] = RunningWorker(process, peer, address, announcement.http)
        peer.on_lost(lambda error: None if peer.draining else self._lose(name, worker, "broken link"))
        peer.on_checkpoint(self._checkpoint)
        peer.on_draining(lambda: self._leave(name, worker))
        worker.watching = asyncio.create_task(self._watch(name, worker), name=f"watch {name}")
        if self._healing is not None:
            self._heartbeat.follow(name, address, self.id, self.who, self._limits)
            self._healing.worker_ready(name)
        self.changed()

    async def _watch(self, name: str, worker: RunningWorker) -> None:
        code = await worker.process.exited()
        if self._stopping:
            return
        if worker in self._leaving and not code:
            LOGGER.info("worker %s has left as it was told to", name)
            return
        self._lose(name, worker, "exit")
        worker.failure = TemporaryError(await worker.process.obituary())
        LOGGER.error("%s", worker.failure)
        unlink(worker.address)
        for act in self._watchers:
            act(name, worker.failure)

    def _checkpoint(self, message: Checkpoint, state: Mapping[str, Array]) -> None:
        route = self.routes.get(message.model)
        if route is not None:
            route.keep(message, state)

    def _idle(self) -> int:
        return len(self._healing.controller.state.idle()) if self._healing is not None else 0

    def right(self, model: str, stage: str, worker: str, answer: str) -> bool:
        """Whether `answer` is the stage's known one. A worker that answers wrong is lost from here on."""
        if answer == self.answers.get((model, stage), answer):
            return True
        LOGGER.error("worker %s computes stage %s.%s wrong: its memory is corrupted", worker, model, stage)
        if worker in self.workers:
            self._lose(worker, self.workers[worker], "corruption")
        return False

    async def prove(self) -> None:
        """Do the known-answer tests of all stages once, each while its worker has no call."""
        places = [(route.plan.model, stage) for route in self.routes.values() for stage in route.plan.stages]
        for model, stage in places:
            worker = self.workers.get(stage.worker)
            if worker is None or worker.peer.calls:
                continue
            with contextlib.suppress(TemporaryError):  # it is gone meanwhile, which is told elsewhere
                self.right(model, stage.name, stage.worker, await worker.peer.prove(model, stage.name))

    async def _prove_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(self.settings.prove_s)
            await self.prove()

    def _leave(self, name: str, worker: RunningWorker) -> None:
        """The worker was told to go: its stages move, the calls that it holds are replayed, then it ends by itself."""
        if self._part(name, worker) and self._healing is not None:
            self._healing.worker_lost(name, "leaving")

    def _starves(self, name: str) -> bool:
        return self.workers[name].process.starved

    def _suspects(self, name: str, why: str, last_s: float) -> None:
        self._lose(name, self.workers[name], why, last_s if why == "hang" else None)

    def _lose(self, name: str, worker: RunningWorker, cause: str, began_s: float | None = None) -> None:
        """The worker is taken to be dead, and made so: a process that still runs could otherwise answer late."""
        if not self._part(name, worker):
            return
        cause = "exit" if worker.process.ended else cause
        worker.process.kill()
        worker.peer.close()
        if self._healing is not None:
            self._healing.worker_lost(name, cause, began_s)

    def _part(self, name: str, worker: RunningWorker) -> bool:
        """Count on the worker no longer; false where that is so already."""
        if self._stopping or worker in self._leaving:
            return False
        self._leaving.append(worker)
        self._heartbeat.forget(name)
        if self._healing is not None:
            del self.workers[name]
        return True

    def _run_directory(self) -> Path:
        """Where the sockets are: under SYNFIRE_HOME, or in the system's temporary folder where that path is too long."""
        if self._directory is None:
            wanted = paths.home() / "run" / self.id
            if len(os.fsencode(wanted.absolute())) > _LONGEST_DIRECTORY:
                wanted = Path(tempfile.gettempdir()) / f"synfire-{self.id}"
            try:
                wanted.mkdir(parents=True, mode=0o700)
            except OSError as error:
                raise UserError(
                    f"cannot make {wanted} for the workers' sockets: {error.strerror}; set SYNFIRE_HOME to a folder that "
                    "can be written"
                ) from error
            self._directory = wanted.absolute()
        return self._directory
