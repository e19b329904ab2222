"""The controller as a process of its own: killed at any time, the next one goes on from the ledger and from what it finds."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from synfire.base.clock import SystemClock
from synfire.base.errors import SynfireError, UnknownName, UserError
from synfire.base.log import LOGGER
from synfire.control.adoption import Found, Hosted, taken_over
from synfire.control.order import OrderKind
from synfire.control.state import State
from synfire.deploy.crew import CrewProcess, RemoteCrew
from synfire.deploy.door import NAME, Door
from synfire.deploy.healing import refusal
from synfire.deploy.ledger import Bookkeeper, Ledger, Wanted, read_ledger
from synfire.deploy.local import LocalDeployment
from synfire.deploy.on_demand import LOADS, OnDemand
from synfire.deploy.remote import Course, RemoteGateways
from synfire.deploy.roles.lifeline import Told, live
from synfire.deploy.roles.planner import Asked, planned_elsewhere
from synfire.deploy.running import Partners, RunningWorker
from synfire.deploy.scaling import Scaler
from synfire.deploy.stored import StoreHands
from synfire.deploy.traffic import as_served, check_rule
from synfire.deploy.wishes import Proposal, Wishes
from synfire.formats.bundle import stored_graph
from synfire.graph import Graph
from synfire.store import MirroredStore
from synfire.store.names import LATEST, of_replica, parted
from synfire.wire.links import SocketLink
from synfire.wire.messages import (
    CHANGED,
    AnyMessage,
    Done,
    Joined,
    Load,
    Move,
    Recorded,
    Reload,
    Standing,
    Steer,
    Unload,
    Wanting,
    error_words,
)
from synfire.wire.traffic import Rule
from synfire.wire.wish import Wish

ATTEND_S = 0.3
"""How long gateways are waited for, which call upon a new controller every 50 ms: what they hold is to be counted."""

ANSWER_S = 3.0
"""How long a worker may take to say what it holds. One that takes longer hangs, and is replaced."""


PLANNERS = 2
"""How many models are planned at a time: each takes a process, and a core for some seconds."""

DOUBT = "doubt"
"""The kind of a `Move` that moves nothing by itself: somebody takes a worker to be gone."""


class ControllerTold(Told, frozen=True, kw_only=True):
    """What a controller is told: beside the rest, how many gateways there are, the process with which the deployment ends, and
    how many controllers there were before."""

    gateways: int
    owner: int
    before: int = 0


async def control(told: ControllerTold) -> None:
    """Control the deployment until the supervisor is gone or says so. An error at the start is told to the supervisor."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    crew = RemoteCrew(SocketLink(socket.socket(fileno=told.lifeline), "the supervisor"), lambda _: ended.set())
    controlling = Control(read_ledger(told.deployment), Path(told.folder), crew, told)
    ending = asyncio.create_task(ended.wait(), name="the end")
    living = asyncio.create_task(controlling.run(), name="control")
    try:
        await asyncio.wait({ending, living}, return_when=asyncio.FIRST_COMPLETED)
        if living.done():
            living.result()
    except SynfireError as error:
        LOGGER.error("the controller cannot go on: %s", error)
        if controlling.first:  # else the supervisor begins another one
            crew.send(Done(*error_words(error)))
            await ending
    finally:
        living.cancel()
        await asyncio.gather(living, return_exceptions=True)
        crew.close()


class Control:
    """What keeps a deployment true, between the supervisor's workers and the gateways. `run` is its life."""

    def __init__(self, ledger: Ledger, folder: Path, crew: RemoteCrew, told: ControllerTold) -> None:
        self.wanted: dict[str, Wanted] = {each.name: each for each in ledger.models}
        self._unloaded: dict[str, Wanted] = {each.name: each for each in ledger.unloaded}
        self._rules: dict[str, Rule] = {each.name: each for each in ledger.rules}
        self._begun = asyncio.Event()
        self._late: list[CrewProcess] = []
        self._ledger = ledger
        self._crew = crew
        self._count = told.gateways
        self._before = told.before
        self._store = MirroredStore(folder / "blobs", lasting=False)
        self._gateways = RemoteGateways(self.wanted)
        self._deployment = LocalDeployment(
            {name: (self._graph(each.digest), each.plan) for name, each in self.wanted.items()},
            ledger.settings,
            services={name: each.services for name, each in self.wanted.items()},
            id=ledger.deployment,
            partners=Partners(self._gateways, crew.start, folder, told.owner, self._store),
        )
        self._books = Bookkeeper(self._present)
        self._on_demand = self._of_store()
        self._planners = asyncio.Semaphore(PLANNERS)
        self._wishes = Wishes(
            lambda name, wish: self._propose(name, wish, folder),
            self._serve,
            self._withdraw,
            self,
            self.wanted,
            self._wishes_changed,
        )
        self._scaler = Scaler(self._wishes)
        self._gateways.on_pressure(self._scaler.hear)
        self._door = Door(f"unix:{folder / NAME}", ledger.deployment, self._gateways.attend, self._obey)
        self._gateways.on_epochs(self._deployment.healing.epochs_seen)
        self._gateways.on_order(self._door.order)
        self._gateways.begin_traffic(self._rules.values())
        self._arriving: set[asyncio.Task[None]] = set()
        crew.on_recorded(self._count_too)
        crew.on_arrived(self._arrives)

    @property
    def first(self) -> bool:
        """Whether there was no controller before this one."""
        return self._ledger.state is None

    async def run(self) -> None:
        """Begin, or take over, and go on until cancelled. Raises `Bug` when the core cannot go on."""
        writing = asyncio.create_task(self._books.run(), name="ledger")
        try:
            kept = await asyncio.to_thread(self._deployment.recoveries.recall)
            if self._ledger.state is None:
                self._door.open()
                await self._deployment.begin()
            else:
                await self._take_over(self._ledger.state, kept)
            await self._books.write()  # before anybody may count on what runs
            self._begun.set()
            self._wishes.begin(self._ledger.wishes)
            for process in self._late:
                self._arrives(process)
            loading = (self._on_demand.run(),) if self._on_demand is not None else ()
            await asyncio.gather(self._tell_always(), self._scaler.run(), *loading)
        finally:
            for task in (writing, *self._arriving):
                task.cancel()
            await self._wishes.close()
            self._door.close()
            await self._deployment.close()

    def _of_store(self) -> OnDemand | None:
        """What loads the store's models, where the deployment serves them."""
        settings = self._ledger.settings.store
        if settings is None:
            return None
        hands = StoreHands(
            self._deployment,
            self._gateways,
            self._store,
            self._serve,
            self._withdraw,
            self._before,
            settings.parallel,
        )
        whole = self._ledger.settings
        # Where so many workers may run at most, each load has to see those that the one before has begun.
        at_a_time = LOADS if whole.most_workers is None else 1
        on_demand = OnDemand(settings, hands, priorities=whole.priorities, at_a_time=at_a_time)
        self._gateways.on_calls(on_demand.hear)
        return on_demand

    @property
    def _state(self) -> State:
        return self._deployment.healing.controller.state

    async def _tell_always(self) -> None:
        """Whenever something has changed, write it down and tell it."""
        controller = self._deployment.healing.controller
        while True:
            state = controller.state
            self._books.note()
            standing = self._standing(state)
            self._gateways.stand(standing)
            self._crew.send(standing)
            await controller.until(lambda now, before=state: now is not before)  # type: ignore[misc]

    def _standing(self, state: State) -> Standing:
        recoveries = self._deployment.recoveries
        return Standing(
            tuple(model.plan for model in state.models.values()),
            {name: each.source for name, each in self.wanted.items()},
            self._deployment.hosts.names,
            recoveries.spares,
            recoveries.spares_wanted,
            tuple((*key, count) for key, count in recoveries.counts.items()),
            state.warm,
            dict(recoveries.conditions),
            tuple(self._rules.values()),
            tuple(recoveries.workers),
            self._wishes.told,
        )

    def _present(self) -> Ledger:
        return msgspec.structs.replace(
            self._ledger,
            models=tuple(self.wanted.values()),
            unloaded=tuple(self._unloaded.values()),
            rules=tuple(self._rules.values()),
            state=self._state,
            hosts=self._deployment.hosts.laid,
            homes=dict(self._deployment.hosts.homes),
            answers=dict(self._deployment.known.answers),
            agreements=dict(self._deployment.known.agreements),
            wishes=self._wishes.kept,
        )

    def _count_too(self, news: Recorded) -> None:
        self._deployment.recoveries.count(news.id, news.cause, news.outcome)
        self._gateways.stand(self._standing(self._state))

    async def _take_over(self, written: State, kept: frozenset[int]) -> None:
        """Go on with what runs; recoveries with the ids `kept` are on record. Nothing that is in order is disturbed."""
        deployment, healing = self._deployment, self._deployment.healing
        deployment.known.answers |= self._ledger.answers
        deployment.known.agreements |= self._ledger.agreements
        deployment.hosts.take_over(self._ledger.hosts, self._ledger.homes)
        processes = await self._crew.known()
        self._late = [each for each in processes.values() if each.joined and each.name not in written.workers]
        processes = {name: each for name, each in processes.items() if each not in self._late}
        running = {name: process for name, process in processes.items() if process.is_ready}
        there = await self._reached(running)
        holding = {name: held for name, (_, held) in there.items()}
        found = Found(holding, set(processes) - set(running), kept, self._before)
        healing.take_over(*taken_over(written, found, SystemClock().now_s()))
        for name, (worker, _) in there.items():
            await self._gateways.reach(name, worker.address, worker.http)
            deployment.workers.take_on(name, worker, anew=False)
        await self._welcome(self._state)
        healing.go_on()
        for name in set(self.wanted) - set(self._state.models):
            if self.wanted[name].on_demand:  # whoever wants it says so again
                del self.wanted[name], deployment.models[name]
            else:
                await deployment.add(name, *deployment.models[name])
        if self._on_demand is not None:
            self._on_demand.holds({name: _memory(each) for name, each in self.wanted.items() if each.on_demand})
        deployment.prove_now_and_then()

    async def _welcome(self, state: State) -> None:
        """Open the door, and let gateways come that were told this, or something older, before."""
        for name, model in state.models.items():
            error = refusal(name, model.failure) if model.failure and model.told else None
            told = (str(error), error.retry_after_s) if error else ()
            self._gateways.expect(name, Course(model.plan, model.epoch, not model.settled, *told))
        self._door.open()
        await self._gateways.caught_up(self._count, ATTEND_S)

    async def _reached(self, running: Mapping[str, CrewProcess]) -> dict[str, tuple[RunningWorker, Hosted]]:
        """The workers that answer, with what each holds."""
        found = await asyncio.gather(*(self._reach(name, process) for name, process in running.items()))
        return {name: there for name, there in zip(running, found, strict=True) if there is not None}

    async def _reach(self, name: str, process: CrewProcess) -> tuple[RunningWorker, Hosted] | None:
        """The worker, and the epochs of the stages that it holds; None for one that does not answer, which is ended."""
        try:
            async with asyncio.timeout(ANSWER_S):
                worker = await self._deployment.workers.running(process, process.joined)
                stages = (await worker.peer.describe()).stages
        except (SynfireError, TimeoutError) as error:
            LOGGER.warning("worker %s is not taken over: %s", name, error or f"no answer within {ANSWER_S} s")
            process.kill()
            return None
        return worker, {(each.model, each.stage): each.epoch for each in stages}

    def _arrives(self, process: CrewProcess) -> None:
        """A worker of another machine has joined."""
        assert process.joined is not None
        arriving = asyncio.create_task(self._arrive(process, process.joined), name=f"arrival of {process.name}")
        self._arriving.add(arriving)
        arriving.add_done_callback(self._arriving.discard)

    async def _arrive(self, process: CrewProcess, joined: Joined) -> None:
        await self._begun.wait()
        if process.running:
            await self._deployment.workers.arrive(process, joined)

    async def _obey(self, order: AnyMessage) -> str:
        """Carry out an order, and say what was done. Raises what stands against it."""
        await self._begun.wait()
        if isinstance(order, Load):
            return await self._load(order)
        if isinstance(order, Unload):
            return await self._unload(order.model.removesuffix(f":{LATEST}"))
        if isinstance(order, Reload):
            return await self._reload(order.model.removesuffix(f":{LATEST}"))
        if isinstance(order, Wanting):
            return await self._want(order)
        if isinstance(order, Steer):
            return await self._steer(order.rule)
        if isinstance(order, Move) and order.kind == DOUBT:
            self._doubt(order.worker)
            return ""
        if isinstance(order, Move):
            kinds: dict[str, OrderKind] = {"drain": "drain", "rebalance": "rebalance", "upgrade": "upgrade"}
            if order.kind not in kinds:
                raise UnknownName.among("planned move", order.kind, kinds)
            done = await self._deployment.order(kinds[order.kind], order.worker)
            return msgspec.json.encode(done).decode()
        raise UserError(f"a controller takes no {type(order).__name__}; is this its door?")

    async def _load(self, order: Load) -> str:
        name, version = parted(order.model, order.version)
        if order.model in self.wanted or (name, version) in {
            parted(each.name, each.version) for each in self.wanted.values()
        }:
            raise UserError(
                f"model {name!r}, version {version}, is served already; unload it first, or give the new one another name"
            )
        wanted = Wanted(
            name=order.model,
            version=order.version,
            source=order.source,
            digest=order.digest,
            plan=order.plan,
            services=order.services,
        )
        return await self._serve(wanted)

    async def _want(self, order: Wanting) -> str:
        """Note what somebody wants by HTTP; it is written down before it is carried out any further."""
        name, wish = order.model, order.wish
        if wish is None:
            self._wishes.drop(name)
        else:
            named = {parted(each.name, each.version)[0] for each in self.wanted.values()}
            wished = {each.name for each in self._wishes.told}
            if name in named - wished:
                raise UserError(
                    f"model {name!r} is served because it was named when the deployment was started; ask for another name"
                )
            if not self._wishes.want(name, wish):
                return ""
        await self._books.write()
        return CHANGED

    async def _propose(self, name: str, wish: Wish, folder: Path) -> Proposal:
        asked = Asked(name, wish, str(folder), self._ledger.settings.begins)
        async with self._planners:
            return Proposal(wish, await planned_elsewhere(asked))

    def rank(self, model: str, priority: int) -> None:
        """Give a model another priority; this and the next three are what `Wishes` have done."""
        self.wanted[model] = msgspec.structs.replace(self.wanted[model], priority=priority)
        self._deployment.priorities[model] = priority
        self._deployment.healing.ranked(model, priority)

    def sleep(self, model: str, asleep: bool) -> None:
        """Have a model leave its workers, or come back."""
        if self.asleep(model) != asleep:
            self._deployment.healing.slept(model, asleep)

    def asleep(self, model: str) -> bool:
        """Whether a model is on no worker, because nobody calls it."""
        view = self._state.models.get(model)
        return view is not None and view.asleep

    async def retire(self, model: str) -> None:
        """Have a replica get no new calls, and wait until it has none."""
        await self._gateways.retire(model)

    def _wishes_changed(self) -> None:
        """Tell what has become of wishes, and write it down."""
        self._books.note()
        if self._begun.is_set():
            self._gateways.stand(self._standing(self._state))

    def _doubt(self, worker: str) -> None:
        """Somebody takes a worker to be gone: where nobody hears of it now, it is lost at once. Raises `UnknownName`."""
        if worker not in self._state.workers:
            raise UnknownName.among("worker", worker, self._state.workers)
        if worker in self._deployment.workers:
            self._deployment.workers.silent(worker)

    async def _unload(self, name: str) -> str:
        """Serve a model no longer, all its versions where none is named."""
        models = _of_name(name, self._deployment.models)
        if not models:
            raise UnknownName.among("served model", name, self._deployment.models)
        for model in models:
            self._check_unused(self.wanted[model])
        for model in models:
            wanted = self.wanted[model]
            await self._withdraw(model)
            if not wanted.on_demand:
                self._unloaded[model] = wanted
            elif self._on_demand is not None:
                self._on_demand.forget(model)
        await self._books.write()
        return f"{name} is served no longer"

    def _check_unused(self, wanted: Wanted) -> None:
        """Raise `UserError` where calls of another name go to the model, and nobody would load it again for them."""
        users = [rule.name for rule in self._rules.values() if of_replica(wanted.name) in rule.models]
        if users and not wanted.on_demand:
            raise UserError(
                f"model {wanted.name} gets calls of {', '.join(users)}; send these elsewhere first: synfire traffic {users[0]} MODEL…"
            )

    async def _steer(self, rule: Rule) -> str:
        """Have a name answer by this rule, at every gateway; by none where it has no sides."""
        if not rule.sides:
            if self._rules.pop(rule.name, None) is None:
                raise UnknownName.among("name that answers by a rule", rule.name, self._rules)
            told = f"{rule.name} answers by no rule any more"
        else:
            rule = as_served(rule, {of_replica(name): each.version for name, each in self.wanted.items()})
            await asyncio.to_thread(check_rule, rule, self._served)
            self._rules[rule.name] = rule
            told = f"{rule.name} is answered by {rule.words}"
        await self._books.write()
        await self._gateways.steer(self._rules.values())
        self._gateways.stand(self._standing(self._state))
        self._crew.send(self._standing(self._state))
        return told

    def _served(self, model: str) -> Graph:
        """The graph of a model that is served, or that a call would load. Raises `UnknownName`."""
        served = {of_replica(name): graph for name, (graph, _) in self._deployment.models.items()}
        if model in served:
            return served[model]
        if self._on_demand is None:
            raise UnknownName.among("served model", model, served)
        return self._graph(self._on_demand.find(model).wanted.digest)

    async def _withdraw(self, name: str) -> None:
        """Serve a model no longer; its calls in flight fail."""
        workers = self._state.models[name].plan.workers if name in self._state.models else ()
        await self._deployment.remove(name)
        if self.wanted.pop(name).on_demand:
            for worker in workers:
                self._deployment.healing.dismiss(worker)
        self._books.note()

    async def _reload(self, name: str) -> str:
        unloaded = _of_name(name, self._unloaded)
        for model in unloaded:
            await self._serve(self._unloaded[model])
        if unloaded or _of_name(name, self.wanted):
            return f"{name} is served"
        if self._on_demand is None:
            raise UnknownName.among("unloaded model", name, self._unloaded)
        await self._on_demand.load(name)
        return f"{name} is served"

    async def _serve(self, wanted: Wanted) -> str:
        name = wanted.name
        self.wanted[name], self._deployment.services[name] = wanted, wanted.services
        self._deployment.priorities[name] = wanted.priority
        try:
            graph = await asyncio.to_thread(self._graph, wanted.digest)
            await self._deployment.add(name, graph, wanted.plan, wanted.on_demand)
        except BaseException:
            del self.wanted[name]
            raise
        self._unloaded.pop(name, None)
        await self._books.write()
        return f"{name} is served"

    def _graph(self, digest: str) -> Graph:
        return stored_graph(digest, self._store)


def _of_name(name: str, models: Iterable[str]) -> list[str]:
    """The model of that name with its replicas, or all of its versions."""
    found = list(models)
    replicas = [each for each in found if name in (each, of_replica(each))]
    return replicas or [each for each in found if of_replica(each).partition("@")[0] == name]


def _memory(wanted: Wanted) -> int:
    return sum(stage.memory_bytes for stage in wanted.plan.stages)


if __name__ == "__main__":
    live(ControllerTold, control)
