"""Plans as running things on this machine: models on worker processes, behind gateways."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Callable, Coroutine, Iterable, Mapping
from types import TracebackType
from typing import Any

import msgspec

from synfire.base.errors import Bug, SynfireError, TemporaryError, UserError
from synfire.base.log import LOGGER
from synfire.control.condition import condition
from synfire.control.order import Order, OrderKind
from synfire.control.record import RecoveryLog
from synfire.control.state import ModelView, State, WorkerView
from synfire.deploy.gateways import Gateways
from synfire.deploy.healing import Healing
from synfire.deploy.hosting import Parts, hostings
from synfire.deploy.known_answers import KnownAnswers
from synfire.deploy.recoveries import LocalRecoveries
from synfire.deploy.running import Partners, RunningWorker
from synfire.deploy.settings import Settings
from synfire.deploy.stage_scaling import StageScaler
from synfire.deploy.warm_up import warm_up
from synfire.deploy.workers import Workers
from synfire.gateway.peer import WorkerPeer
from synfire.gateway.route import WorkerRoute
from synfire.gateway.routes import Routes
from synfire.graph import Graph, flatten
from synfire.plan import Plan
from synfire.plan.replicas import Range
from synfire.wire import codec
from synfire.wire.condition import Condition
from synfire.wire.messages import Description, Hand, StageLost, StageMended, Unhost
from synfire.wire.stream import Packet
from synfire.worker.membranes import FLIPPED
from synfire.worker.settings import Settings as WorkerSettings

__all__ = ["LocalDeployment", "Partners", "RunningWorker", "Settings"]

_MOST_STARTS = 5
"""How often a deployment is begun where workers die before it runs."""


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
        self.settings = settings or Settings()
        self.models = {name: (flatten(graph), plan) for name, (graph, plan) in (models or {}).items()}
        self.services = dict(services or {})
        self.priorities = dict(self.settings.priorities)
        self.parts: dict[str, Parts] = {}
        limits = WorkerSettings.of(worker_settings or {}).links
        self.gateway = Routes(f"gateway-{self.id}", self.id, limits, self.settings.heal)
        self.gateways: Gateways = partners.gateways if partners else self.gateway
        self.gateways.on_cut(self._cut)
        self.workers = Workers(self.id, self.settings, self.gateways, self, partners, worker_settings)
        self.hosts = self.workers.hosts
        self.known = KnownAnswers(self.workers, self.plans)
        self._has_partners = partners is not None
        self._proving: asyncio.Task[None] | None = None
        self._scaling: asyncio.Task[None] | None = None
        self._watchers: list[Callable[[str, SynfireError], None]] = []
        self._followers: list[Callable[[], None]] = []
        self.recoveries = LocalRecoveries(
            self.id, self.settings.spares, self._idle, self._conditions, log or RecoveryLog(), self._hands
        )
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
        """Start the workers and host the models. Raises what the first refusing worker says.

        Workers that die meanwhile are started anew, some times.
        """
        await asyncio.to_thread(self.hosts.lay)
        waiting = dict(self.models)
        for left in range(_MOST_STARTS, 0, -1):
            try:
                await self._add_all(waiting)
                break
            except TemporaryError as error:
                lost = {worker for _, plan in waiting.values() for worker in plan.workers} - set(self.workers)
                if not lost or left == 1 or self._healing is None:
                    raise
                LOGGER.warning("%s (started anew: %s)", error, ", ".join(sorted(lost)))
        self.prove_now_and_then()

    def prove_now_and_then(self) -> None:
        """Do the known-answer tests every so many seconds from now on, and try again what was given up."""
        if self._healing is not None:
            proving = self.known.now_and_then(self.settings.prove_s, self._healing.retry)
            self._proving = asyncio.create_task(proving, name="known-answer tests")
            self._scale_stages()

    async def close(self) -> None:
        """Control nothing any more: gateways and workers go on as they are."""
        self.workers.close()
        if self._healing is not None:
            self._healing.close()
            await self._healing.controller.close()
        for task in (self._proving, self._scaling):
            if task is not None:
                task.cancel()

    async def stop(self) -> None:
        """Drain every worker, end its process, and remove the sockets. Stopping twice is no error."""
        await self.close()
        await self.workers.end()
        self.gateway.close()
        await asyncio.to_thread(self.hosts.remove)

    @property
    def healing(self) -> Healing:
        """What replaces lost workers. Raises `Bug` where nothing does."""
        if self._healing is None:
            raise Bug("the deployment does not heal; its settings say so")
        return self._healing

    @property
    def routes(self) -> Mapping[str, WorkerRoute]:
        """The routes of the gateway in this process."""
        return self.gateway.by_model

    async def describe(self) -> dict[str, Description]:
        """What each worker hosts and did so far."""
        return await self.gateway.describe()

    async def start_workers(self, names: Iterable[str], anew: bool = False) -> None:
        """Start those workers that do not run yet, all at the same time; `anew`, with the code that is installed now."""
        starting = asyncio.create_task(self.workers.start(list(names), anew))
        if not self._has_partners:
            await asyncio.to_thread(codec.warm)  # for this process's own frames, while the workers start
        await starting

    async def add(self, model: str, graph: Graph, plan: Plan, on_demand: bool = False) -> None:
        """Host a model, and have the gateways serve it; for now, where it is loaded `on_demand`. Where a worker of its plan cannot take
        it any more, another one does; where all workers are others', it waits for them. Raises what the first refusing worker says, and then hosts nothing of it."""
        arriving = self._healing.receive(plan) if self._healing is not None else ModelView(plan)
        plan = arriving.plan
        flat = flatten(graph)
        self.parts[model] = {}
        if arriving.fresh:
            await self._await_workers(arriving, graph, on_demand)
            return
        await self.start_workers(plan.workers)
        try:
            await self._host(model, flat, plan)
        except SynfireError:
            self.unhost(model)
            raise
        peers = {name: self.workers.living(name).peer for name in plan.workers}
        await warm_up(flat, plan, peers, self.workers.who, self.settings.warm_ups)
        self.models[model] = (flat, plan)
        await self.gateways.serve(model, graph, plan)
        if self._healing is not None:
            self._healing.model_added(arriving, on_demand)
            self._scale_stages()

    async def remove(self, model: str) -> None:
        """Host a model no longer; its calls in flight fail."""
        del self.models[model]
        self.parts.pop(model, None)
        self.known.forget(model)
        await self.gateways.remove(model)
        if self._healing is not None:
            self._healing.model_removed(model)
        self.unhost(model)  # at once: what it held is room for others from now on

    def unhost(self, model: str) -> None:
        """Have every worker drop the model's stages, also those that it was only about to take over."""
        for worker in list(self.workers.values()):
            with contextlib.suppress(SynfireError):  # a worker that is gone hosts nothing
                worker.peer.send(Packet(Unhost(model)))

    async def until_warm(self) -> None:
        """Wait until nothing is being recovered, and every spare is ready to take over any stage."""
        if self._healing is not None:
            await self._healing.controller.until(lambda state: state.warm)

    async def drain(self, worker: str) -> Order:
        """Have everything leave a worker, and end it. Raises as `synfire.deploy.healing.Healing.order` does."""
        return await self.order("drain", worker)

    async def rebalance(self) -> Order:
        """Spread all stages evenly again. Raises as `drain` does."""
        return await self.order("rebalance")

    async def upgrade(self) -> Order:
        """Replace every worker by a fresh process, one after the other. Raises as `drain` does."""
        return await self.order("upgrade")

    async def order(self, kind: OrderKind, worker: str = "") -> Order:
        """Carry out a planned move, of one worker where it is a `drain`, and say what was done."""
        if self._healing is None:
            raise UserError("this deployment does not move stages, because it does not heal; set heal=True")
        return await self._healing.order(kind, worker)

    def on_change(self, act: Callable[[], None]) -> None:
        """Call `act` when another worker is there, or a model's calls go another way."""
        self._followers.append(act)

    def on_worker_lost(self, act: Callable[[str, SynfireError], None]) -> None:
        """Call `act` with the worker's name and the reason when a worker has died."""
        self._watchers.append(act)

    def plans(self) -> list[Plan]:
        """Where all stages are wanted; this and what follows is what `workers` ask and tell, see `synfire.deploy.running`."""
        views = self._healing.controller.state.models.values() if self._healing is not None else ()
        return [view.plan for view in views] or [plan for _, plan in self.models.values()]

    def kind(self, worker: str) -> str:
        return self._healing.kind(worker) if self._healing is not None else ""

    def changed(self) -> None:
        for act in self._followers:
            act()

    def worker_ready(self, worker: str, back: bool) -> None:
        if self._healing is not None:
            self._healing.worker_ready(worker, self.hosts.group(worker), back, self.workers[worker].joined)

    def worker_lost(self, worker: str, cause: str, began_s: float | None = None) -> None:
        if self._healing is not None:
            self._healing.worker_lost(worker, cause, began_s)

    def worker_leaves(self, worker: str) -> Coroutine[Any, Any, None] | None:
        return self._healing.worker_leaves(worker) if self._healing is not None else None

    def worker_died(self, worker: str, failure: SynfireError) -> None:
        for act in self._watchers:
            act(worker, failure)

    def worker_reported(self, worker: str, report: StageMended | StageLost) -> None:
        if self._healing is None:
            return
        if isinstance(report, StageMended):
            self._healing.device_mended(worker, report)
            if report.cause == FLIPPED:
                self.known.flipped(worker, self.settings.most_flips)
        else:
            self._healing.device_lost(worker, report)

    def replicate(self, model: str, ranges: Mapping[str, Range]) -> None:
        """Have these stages of a model in so many replicas, as their work takes, and the others in one."""
        self.healing.ranged(model, ranges)
        self._scale_stages()

    def _scale_stages(self) -> None:
        """Look after what stages have to do from now on, where the number of their replicas follows from that."""
        healing = self._healing
        if healing is None or self._scaling is not None:
            return
        views = healing.controller.state.models
        if any(stage.most > max(stage.least, 1) for each in views.values() for stage in each.scaling):
            scaler = StageScaler(self._peer, lambda: healing.controller.state.models.values(), healing.pressed)
            self._scaling = asyncio.create_task(scaler.run(), name="scaling of stages")

    def _peer(self, worker: str) -> WorkerPeer | None:
        running = self.workers.get(worker)
        return running.peer if running is not None else None

    async def _add_all(self, waiting: dict[str, tuple[Graph, Plan]]) -> None:
        """Host these models, one after the other; those stay there that are not hosted."""
        if self.settings.begins:
            await self.start_workers(worker for _, plan in waiting.values() for worker in plan.workers)
        for name, (graph, plan) in list(waiting.items()):
            await self.add(name, graph, plan)
            del waiting[name]

    async def _await_workers(self, arriving: ModelView, graph: Graph, on_demand: bool) -> None:
        """Hold the calls of a model that begins until workers have joined for it; return when it is served, or waits for them."""
        model = arriving.name
        self.models[model] = (flatten(graph), arriving.plan)
        await self.gateways.serve(model, graph, arriving.plan)
        self.healing.model_added(arriving, on_demand)
        self._scale_stages()
        await self.healing.controller.until(
            lambda state: model not in state.models or state.at_rest(state.models[model])
        )

    async def _host(self, model: str, flat: Graph, plan: Plan) -> None:
        """Have the plan's workers host its stages, and learn what these answer."""
        addresses = {name: self.workers.living(name).address for name in plan.workers}
        ways = self.workers.outside()
        for each in hostings(flat, plan, addresses, self.services.get(model), parts=self.parts[model], outside=ways):
            host = msgspec.structs.replace(each.host, compare=True)
            hosted = await self.workers.living(each.worker).peer.host(host, each.graph)
            self.known.learn(model, plan.stage(host.stage).original, host.engine, hosted.answer, hosted.agreement)
        for name in plan.workers:
            self.workers.living(name)

    def _cut(self, name: str, by: str, for_s: float) -> None:
        """A gateway has lost its connection to the worker: it is of no use then. Or the worker `by` does not reach it."""
        if not by:
            self.workers.lose(name, "broken link")
            return
        name = self.workers.found_at(name, by)
        if self._healing is not None and name and not self.workers.silent(name, by):
            LOGGER.warning("worker %s has not reached worker %s for %.2f s, and both live", by, name, for_s)
            self._healing.severed(name, by, for_s)

    def _idle(self) -> int:
        return len(self._healing.controller.state.idle()) if self._healing is not None else 0

    def _hands(self) -> tuple[Hand, ...]:
        """Who is counted on, also to come, as gateways are told."""
        state = self._healing.controller.state if self._healing is not None else State()
        return tuple(self._hand(state, each) for each in state.workers.values())

    def _hand(self, state: State, view: WorkerView) -> Hand:
        running = self.workers.get(view.name)
        free_bytes = None if view.memory_bytes is None else int(state.room(view.name))
        ways = (running.address, running.http) if running is not None else ()
        nature = (view.kind, view.group, view.role, view.status, view.joined, view.leaving)
        hand = Hand(view.name, *nature, view.memory_bytes, free_bytes, *ways)
        return msgspec.structs.replace(hand, cores=view.cores, free_cores=state.free_cores(view.name))

    def _conditions(self) -> dict[str, Condition]:
        if self._healing is None:
            return {}
        state = self._healing.controller.state
        return {name: condition(each, self.known.agreements, state.begins) for name, each in state.models.items()}
