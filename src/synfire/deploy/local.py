"""Plans as running things on this machine: worker processes, and connections to them."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from synfire.base.errors import Bug, SynfireError, TemporaryError, UserError
from synfire.base.log import LOGGER
from synfire.control.order import Order, OrderKind
from synfire.control.record import RecoveryLog
from synfire.deploy.folders import make_folder
from synfire.deploy.gateways import Gateways
from synfire.deploy.healing import Healing
from synfire.deploy.heartbeat import Heartbeat
from synfire.deploy.hosting import Parts, hostings
from synfire.deploy.hosts import Hosts, returned
from synfire.deploy.process import Process, WorkerProcess
from synfire.deploy.recoveries import LocalRecoveries
from synfire.deploy.settings import Settings
from synfire.gateway.peer import WorkerPeer
from synfire.gateway.route import WorkerRoute
from synfire.gateway.routes import Routes
from synfire.graph import Graph, flatten
from synfire.plan import Plan
from synfire.wire import gaps
from synfire.wire.links import Limits, unlink
from synfire.wire.messages import Description, StageLost, StageMended, Unhost
from synfire.wire.stream import Packet
from synfire.worker.settings import Settings as WorkerSettings

__all__ = ["LocalDeployment", "Partners", "RunningWorker", "Settings"]


MOST_MISSED = 2
"""How many known-answer tests of a stage may be put off, one after the other, because its worker has calls."""


@dataclass(frozen=True)
class Partners:
    """Who does what a deployment does not do itself: answer calls, start worker processes; and where their sockets are.

    `start` takes what `WorkerProcess.start` does; `owner` is the process with which the deployment ends.
    """

    gateways: Gateways
    start: Callable[..., Process]
    folder: Path
    owner: int


@dataclass(eq=False)
class RunningWorker:
    """A worker process and the controller's connection to it. `failure` says why it is gone, if it is; once it is `parted`
    nobody counts on it any more."""

    process: Process
    peer: WorkerPeer
    address: str
    http: str
    watching: asyncio.Task[None] | None = None
    failure: SynfireError | None = None
    parted: bool = False


class LocalDeployment:
    """Models on worker processes of this machine; leaving the block drains the workers and removes every trace.

        async with LocalDeployment({"digits": (graph, plan)}) as deployment:
            async for part in deployment.routes["digits"].answer(call): ...

    Workers are named by the plans and shared between them. When one dies, its stages move to a spare, or to a new worker,
    and the calls that it held are replayed: nobody is told. With `heal` off its models are not ready from then on, and their
    calls fail at once, with the reason.

    With `partners`, gateways and worker processes are elsewhere, and do not end with the deployment: only what controls them
    is here then (see `synfire.deploy.roles`).
    """

    def __init__(
        self,
        models: Mapping[str, tuple[Graph, Plan]] | None = None,
        settings: Settings | None = None,
        worker_settings: Mapping[str, Any] | None = None,
        services: Mapping[str, Mapping[str, str]] | None = None,
        log: RecoveryLog | None = None,
        id: str = "",
        partners: Partners | None = None,
    ) -> None:
        self.id = id or uuid.uuid4().hex[:8]
        self.who = f"controller-{self.id}"
        self.settings = settings or Settings()
        self.workers: dict[str, RunningWorker] = {}
        self.models = {name: (flatten(graph), plan) for name, (graph, plan) in (models or {}).items()}
        self.services = dict(services or {})
        self.parts: dict[str, Parts] = {}
        self.answers: dict[tuple[str, str, str], str] = {}
        self.agreements: dict[tuple[str, str], float] = {}
        self._worker_settings = dict(worker_settings or {})
        self._limits: Limits = WorkerSettings.of(self._worker_settings).links
        self._directory: Path | None = None
        self._stopping = False
        self._partners = partners
        self.gateway = Routes(f"gateway-{self.id}", self.id, self._limits, self.settings.heal)
        self.gateways: Gateways = partners.gateways if partners else self.gateway
        self.gateways.on_cut(self._cut)
        self._missed: Counter[tuple[str, str]] = Counter()
        self._proving: asyncio.Task[None] | None = None
        self._leaving: list[RunningWorker] = []
        self._away: dict[RunningWorker, asyncio.Task[None]] = {}
        self._watchers: list[Callable[[str, SynfireError], None]] = []
        self.hosts = Hosts(self.id, self.settings.hosts, self.settings.spares, partners.owner if partners else None)
        self._heartbeat = Heartbeat(self.settings.heartbeats, self._suspects, self._starves, self.hosts.fellows)
        self._followers: list[Callable[[], None]] = []
        self.recoveries = LocalRecoveries(self.id, self.settings.spares, self._idle, log or RecoveryLog())
        self._healing = Healing(self, self.settings.spares, self.recoveries.keep) if self.settings.heal else None

    async def __aenter__(self) -> LocalDeployment:
        try:
            await self.begin()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def begin(self) -> None:
        """Start the workers and host the models. Raises what the first refusing worker says."""
        await asyncio.to_thread(self.hosts.lay)
        await self.start_workers(name for _, plan in self.models.values() for name in plan.workers)
        for name, (graph, plan) in list(self.models.items()):
            await self.add(name, graph, plan)
        self.prove_now_and_then()

    def prove_now_and_then(self) -> None:
        """Do the known-answer tests every so many seconds from now on."""
        if self._healing is not None:
            self._proving = asyncio.create_task(self._prove_now_and_then(), name="known-answer tests")

    @property
    def healing(self) -> Healing:
        """What replaces lost workers. Raises `Bug` where nothing does."""
        if self._healing is None:
            raise Bug("the deployment does not heal; its settings say so")
        return self._healing

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
        if self._partners is None:
            await asyncio.to_thread(gaps.warm)  # for this process's own frames, while the workers start
        results = await asyncio.gather(*starting, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def add(self, model: str, graph: Graph, plan: Plan) -> None:
        """Host a model, and have the gateways serve it. Raises what the first refusing worker says, and then hosts nothing of it."""
        if self._healing is not None:
            self._healing.admit(plan)
        await self.start_workers(plan.workers)
        flat = flatten(graph)
        self.parts[model] = {}
        try:
            addresses = {name: self._living(name).address for name in plan.workers}
            for each in hostings(flat, plan, addresses, self.services.get(model), parts=self.parts[model]):
                host = msgspec.structs.replace(each.host, compare=True)
                hosted = await self._living(each.worker).peer.host(host, each.graph)
                self.answers[model, each.host.stage, each.host.engine] = hosted.answer
                self.agree(model, each.host.stage, hosted.agreement)
            for name in plan.workers:
                self._living(name)
        except SynfireError:
            self.unhost(model)
            raise
        self.models[model] = (flat, plan)
        await self.gateways.serve(model, graph, plan)
        if self._healing is not None:
            self._healing.model_added(plan)

    async def remove(self, model: str) -> None:
        """Host a model no longer; its calls in flight fail."""
        if self._healing is not None:
            self._healing.model_removed(model)
        del self.models[model]
        self.parts.pop(model, None)
        self.answers = {key: answer for key, answer in self.answers.items() if key[0] != model}
        self.agreements = {key: share for key, share in self.agreements.items() if key[0] != model}
        await self.gateways.remove(model)
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
    def away(self) -> tuple[RunningWorker, ...]:
        """The workers that were lost with their hosts, and may come back."""
        return tuple(self._away)

    async def until_all_back(self) -> None:
        """Wait until every worker that was lost with its host is there again, or its process has ended."""
        while self._away:
            await asyncio.wait(self._away.values())

    @property
    def routes(self) -> Mapping[str, WorkerRoute]:
        """The routes of the gateway in this process."""
        return self.gateway.by_model

    async def drain(self, worker: str) -> Order:
        """Have everything leave a worker, and end it. Raises as `synfire.deploy.healing.Healing.order` does."""
        return await self.order("drain", worker)

    async def rebalance(self) -> Order:
        """Spread all stages evenly again. Raises as `drain` does."""
        return await self.order("rebalance")

    async def upgrade(self) -> Order:
        """Replace every worker by a fresh process, one after the other. Raises as `drain` does."""
        return await self.order("upgrade")

    async def retire(self, name: str) -> None:
        """End a worker that has nothing left to do, and return when it has ended."""
        worker = self.workers.get(name)
        if worker is None or not self._part(name, worker, gone=False):
            return
        worker.process.terminate()
        await worker.process.end(self.settings.stop_s)

    async def order(self, kind: OrderKind, worker: str = "") -> Order:
        """Carry out a planned move, of one worker where it is a `drain`, and say what was done."""
        if self._healing is None:
            raise UserError("this deployment does not move stages, because it does not heal; set heal=True")
        return await self._healing.order(kind, worker)

    async def describe(self) -> dict[str, Description]:
        """What each worker hosts and did so far."""
        return await self.gateway.describe()

    async def close(self) -> None:
        """Control nothing any more: gateways and workers go on as they are."""
        self._stopping = True
        if self._healing is not None:
            self._healing.close()
            await self._healing.controller.close()
        if self._proving is not None:
            self._proving.cancel()
        self._heartbeat.close()
        for task in self._away.values():
            task.cancel()

    async def stop(self) -> None:
        """Drain every worker, end its process, and remove the sockets. Stopping twice is no error."""
        await self.close()
        for worker in self._away:
            worker.process.kill()  # nobody can ask it to leave; that it runs on this machine after all comes in handy
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
        self.gateway.close()
        await asyncio.to_thread(self.hosts.remove)
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def _living(self, name: str) -> RunningWorker:
        """The worker. Raises `TemporaryError` when it was lost."""
        if name not in self.workers:
            raise TemporaryError(f"worker {name} was lost while a model was being hosted on it; try again")
        return self.workers[name]

    async def _start(self, name: str) -> None:
        away = [each.process.name for each in self._away if not each.process.ended]
        host = self.hosts.place(name, self._plans(), away)
        address = f"tcp://{host.address}:0" if host else f"unix:{self._run_directory() / name}.sock"
        http = f"{host.address}:0" if host and self.settings.http else self.settings.http
        inside, device = host.inside if host else (), self._healing.kind(name) if self._healing is not None else ""
        start = self._partners.start if self._partners else WorkerProcess.start
        process = start(name, self.id, address, http, self._worker_settings, inside, device)
        try:
            announcement = await process.ready(self.settings.ready_s)
            (address,) = announcement.addresses
            peer = await WorkerPeer.reach(name, address, self.id, self.who, self._limits)
            await self.gateways.reach(name, address, announcement.http)
        except BaseException as error:
            if self._partners is None or isinstance(error, SynfireError):  # else it is the supervisor's to end
                process.terminate()
                await process.end(self.settings.stop_s)
            raise
        worker = RunningWorker(process, peer, address, announcement.http)
        self.take_on(name, worker)

    def take_on(self, name: str, worker: RunningWorker, anew: bool = True) -> None:
        """Count on a worker from now on, which holds nothing, or, where it is not `anew`, what the controller knows."""
        self.workers[name] = worker
        peer = worker.peer
        peer.on_lost(lambda error: None if peer.draining else self._lose(name, worker, "broken link"))
        peer.on_draining(lambda: self._leave(name, worker))
        if self._healing is not None:
            self._heartbeat.follow(name, worker.address, self.id, self.who, self._limits)
            if anew:
                self._healing.worker_ready(name, self.hosts.group(name))
        if worker.watching is None:
            worker.watching = asyncio.create_task(self._watch(name, worker), name=f"watch {name}")
        self.changed()
        peer.on_report(lambda report: self._reported(name, report))
        if peer.lost is not None:  # before anybody listened
            self._lose(name, worker, "broken link")
        elif peer.draining:
            self._leave(name, worker)

    def _plans(self) -> list[Plan]:
        """Where all stages are wanted."""
        views = self._healing.controller.state.models.values() if self._healing is not None else ()
        return [view.plan for view in views] or [plan for _, plan in self.models.values()]

    async def _watch(self, name: str, worker: RunningWorker) -> None:
        code = await worker.process.exited()
        self.hosts.leave(name)
        if self._stopping:
            return None
        if worker.parted and not code:
            LOGGER.info("worker %s has left as it was told to", name)
            return self._forget(worker)
        self._lose(name, worker, "exit")
        worker.failure = TemporaryError(await worker.process.obituary())
        LOGGER.error("%s", worker.failure)
        for act in self._watchers:
            act(name, worker.failure)
        return self._forget(worker)

    def _forget(self, worker: RunningWorker) -> None:
        """The worker has ended: nothing of it stays."""
        worker.peer.close()
        unlink(worker.address)
        if worker in self._leaving:
            self._leaving.remove(worker)

    def _idle(self) -> int:
        return len(self._healing.controller.state.idle()) if self._healing is not None else 0

    def right(self, model: str, stage: str, worker: str, answer: str) -> bool:
        """Whether `answer` is the known one of the stage on the engine that runs it, if there is any.

        A worker that answers wrong is lost from here on.
        """
        engine = next((each.engine_of(each.stage(stage)) for each in self._plans() if each.model == model), "")
        if not answer or answer == self.answers.setdefault((model, stage, engine), answer):
            return True
        LOGGER.error("worker %s computes stage %s.%s wrong: its memory is corrupted", worker, model, stage)
        if worker in self.workers:
            self._lose(worker, self.workers[worker], "corruption")
        return False

    def agree(self, model: str, stage: str, agreement: float | None) -> None:
        """Keep how far the spikes of a stage's device agree with the processor's."""
        if agreement is not None:
            self.agreements[model, stage] = agreement

    async def prove(self) -> None:
        """Do the known-answer tests of all stages once, each while its worker has no call.

        A stage whose worker had calls `MOST_MISSED` times running is tested all the same, between two jobs.
        """
        for plan in self._plans():
            for stage in plan.stages:
                worker, key = self.workers.get(stage.worker), (plan.model, stage.name)
                with contextlib.suppress(TemporaryError):  # it is gone meanwhile, which is told elsewhere
                    if worker is None:
                        continue
                    if self._missed[key] < MOST_MISSED and (await worker.peer.describe()).requests:
                        self._missed[key] += 1
                        continue
                    self._missed.pop(key, None)
                    self.right(*key, stage.worker, await worker.peer.prove(*key))

    async def _prove_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(self.settings.prove_s)
            await self.prove()
            if self._healing is not None:
                self._healing.retry()

    def _leave(self, name: str, worker: RunningWorker) -> None:
        """The worker was told to go: its stages move, the calls that it holds are replayed, then it ends by itself."""
        if self._part(name, worker, gone=False) and self._healing is not None:
            self._healing.worker_lost(name, "leaving")

    def _reported(self, name: str, report: StageMended | StageLost) -> None:
        """The worker has something to tell of the device under a stage."""
        if self._healing is None:
            return
        if isinstance(report, StageMended):
            self._healing.device_mended(name, report)
        else:
            self._healing.device_lost(name, report)

    def _cut(self, name: str) -> None:
        """A gateway has lost its connection to the worker: it is of no use then."""
        if name in self.workers:
            self._lose(name, self.workers[name], "broken link")

    def _starves(self, name: str) -> bool:
        return self.hosts.reachable(name) and self.workers[name].process.starved

    def _suspects(self, name: str, why: str, last_s: float) -> None:
        self._lose(name, self.workers[name], why, last_s if why == "hang" else None)

    def _lose(self, name: str, worker: RunningWorker, cause: str, began_s: float | None = None) -> None:
        """The worker is taken to be dead, and made so where it can be: a process that still runs could otherwise answer late.

        On another host nobody can be killed. There the worker is fenced, and taken on anew when it is back.
        """
        if not self._part(name, worker):
            return
        cause = "exit" if worker.process.ended else cause
        if self.hosts.of(name):
            self._away[worker] = asyncio.create_task(self._await_back(name, worker), name=f"await {name}")
        else:
            worker.process.kill()
        worker.peer.close()
        if self._healing is not None:
            self._healing.worker_lost(name, cause, began_s)

    async def _await_back(self, name: str, worker: RunningWorker) -> None:
        async def reach(greeting_s: float) -> WorkerPeer:
            return await WorkerPeer.reach(name, worker.address, self.id, self.who, self._limits, greeting_s)

        peer = await returned(reach, lambda: worker.process.running)
        while peer is not None:
            try:
                await self.gateways.reach(name, worker.address, worker.http)
                break
            except TemporaryError:  # away again
                peer.close()
                peer = await returned(reach, lambda: worker.process.running)
        del self._away[worker]
        if peer is None:
            return
        LOGGER.warning("worker %s is back, and begins anew as a spare", name)
        worker.peer = peer
        self._leaving.remove(worker)
        worker.parted = False
        self.take_on(name, worker)

    def _part(self, name: str, worker: RunningWorker, gone: bool = True) -> bool:
        """Count on the worker no longer; false where that is so already. One that is not gone still hears of cancelled calls."""
        if self._stopping or worker.parted:
            return False
        worker.parted = True
        self._leaving.append(worker)
        self._heartbeat.forget(name)
        if self._healing is not None:
            del self.workers[name]
            if gone:
                self.gateways.part(name)
        return True

    def _run_directory(self) -> Path:
        """Where the sockets are."""
        if self._partners is not None:
            return self._partners.folder
        if self._directory is None:
            self._directory = make_folder(self.id)
        return self._directory
