"""The controller as a process of its own: killed at any time, the next one goes on from the ledger and from what it finds."""

from __future__ import annotations

import asyncio
import signal
import socket
from pathlib import Path

import msgspec

from synfire.base.errors import SynfireError, UnknownName, UserError
from synfire.base.log import LOGGER
from synfire.control.order import OrderKind
from synfire.control.state import State
from synfire.control.vacancies import vacancies
from synfire.deploy.chains import read_fixed
from synfire.deploy.crew import CrewProcess, RemoteCrew
from synfire.deploy.door import NAME, Door
from synfire.deploy.healing import refusal
from synfire.deploy.ledger import Bookkeeper, Ledger, Wanted, read_ledger
from synfire.deploy.local import LocalDeployment
from synfire.deploy.models import Models
from synfire.deploy.on_demand import LOADS, OnDemand
from synfire.deploy.remote import Course, RemoteGateways
from synfire.deploy.roles.chaining import ChainHands
from synfire.deploy.roles.lifeline import live
from synfire.deploy.roles.takeover import Takeover
from synfire.deploy.roles.told import ControllerTold
from synfire.deploy.roles.wishing import Wishing
from synfire.deploy.rules import Rules
from synfire.deploy.running import Partners
from synfire.deploy.stored import StoreHands
from synfire.formats.bundle import stored_graph
from synfire.graph import Graph
from synfire.store import MirroredStore
from synfire.store.names import LATEST
from synfire.wire.links import SocketLink
from synfire.wire.messages import (
    AnyMessage,
    Chaining,
    Done,
    Joined,
    Load,
    Move,
    Recorded,
    Reload,
    Standing,
    Steer,
    Tally,
    Unload,
    Wanting,
    error_words,
)

ATTEND_S = 0.3
"""How long gateways are waited for, which call upon a new controller every 50 ms: what they hold is to be counted."""

DOUBT = "doubt"
"""The kind of a `Move` that moves nothing by itself: somebody takes a worker to be gone."""

TOLD = "told"
"""The kind of a `Move` that moves nothing either: somebody has asked for all models that there are to be."""


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
        self._begun = asyncio.Event()
        self._late: list[CrewProcess] = []
        self._ledger = ledger
        self._crew = crew
        self._count = told.gateways
        self._before = told.before
        self._awaited = bool(ledger.settings.await_models_s) and not ledger.told
        self._store = MirroredStore(folder / "blobs", lasting=False)
        self._gateways = RemoteGateways(self.wanted)
        self._deployment = LocalDeployment(
            {name: (self._graph(each.digest), each.plan) for name, each in self.wanted.items()},
            ledger.settings,
            services={name: each.services for name, each in self.wanted.items()},
            id=ledger.deployment,
            partners=Partners(self._gateways, crew, folder, told.owner, self._store),
        )
        self._books = Bookkeeper(self._present)
        self._models = Models(self.wanted, ledger.unloaded, self._deployment, self._graph, self._books)
        self._models.on_demand = self._of_store()
        self._rules = Rules(ledger.rules, self._models, self._gateways, self._books)
        self._wishing = Wishing(
            folder, self._models, self._deployment, self._gateways, self._books, self._wishes_changed
        )
        fixed = read_fixed([self._store.get(each) for each in told.chains])
        self._chaining = ChainHands(
            fixed, self._models, self._rules, self._wishing, self._gateways, self._books, self._tell
        )
        self._door = Door(f"unix:{folder / NAME}", ledger.deployment, self._gateways.attend, self._obey)
        self._gateways.on_epochs(self._deployment.healing.epochs_seen)
        self._gateways.on_order(self._door.order)
        self._gateways.on_tally(self._count_calls)
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
            await self._chaining.begin(self._ledger.chains)
            if self._ledger.state is None:
                self._door.open()
                await self._deployment.begin()
            else:
                await self._take_over(self._ledger.state, kept)
            await self._books.write()  # before anybody may count on what runs
            self._begun.set()
            if self._awaited:
                asyncio.get_running_loop().call_later(self._ledger.settings.await_models_s, self._all_told)
            self._wishing.begin(self._ledger.wishes)
            for process in self._late:
                self._arrives(process)
            on_demand = self._models.on_demand
            loading = (on_demand.run(),) if on_demand is not None else ()
            await asyncio.gather(self._tell_always(), self._wishing.run(), self._chaining.look(), *loading)
        finally:
            for task in (writing, *self._arriving):
                task.cancel()
            await self._wishing.close()
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
            self._models.serve,
            self._models.withdraw,
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
            self._tell()
            await controller.until(lambda now, before=state: now is not before)  # type: ignore[misc]

    def _tell(self) -> None:
        """Tell gateways and the supervisor how things stand."""
        if self._begun.is_set():
            standing = self._standing(self._state)
            self._gateways.stand(standing)
            self._crew.send(standing)

    def _tell_gateways(self) -> None:
        """Before all is begun they go by what they know: half of it would be that other models were never asked for."""
        if self._begun.is_set():
            self._gateways.stand(self._standing(self._state))

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
            self._rules.all,
            tuple(recoveries.workers),
            self._wishing.told,
            self._chaining.told,
            self._rules.counted,
            self._awaited,
            dict(vacancies(state)),
        )

    def _present(self) -> Ledger:
        return msgspec.structs.replace(
            self._ledger,
            models=tuple(self.wanted.values()),
            unloaded=tuple(self._models.unloaded.values()),
            rules=self._rules.all,
            state=self._state,
            hosts=self._deployment.hosts.laid,
            homes=dict(self._deployment.hosts.homes),
            answers=dict(self._deployment.known.answers),
            agreements=dict(self._deployment.known.agreements),
            wishes=self._wishing.kept,
            chains=self._chaining.kept,
            told=not self._awaited,
        )

    def _count_too(self, news: Recorded) -> None:
        self._deployment.recoveries.count(news.id, news.cause, news.outcome)
        self._tell_gateways()

    def _count_calls(self, gateway: str, tally: Tally) -> None:
        self._rules.hear(gateway, tally)
        self._tell_gateways()

    async def _take_over(self, written: State, kept: frozenset[int]) -> None:
        """Go on with what runs; recoveries with the ids `kept` are on record."""
        deployment = self._deployment
        takeover = Takeover(self._ledger, deployment, self._gateways, self._crew, self._before)
        self._late = await takeover.run(written, kept)
        await self._welcome(self._state)
        deployment.healing.go_on()
        for name in set(self.wanted) - set(self._state.models):
            if self.wanted[name].on_demand:  # whoever wants it says so again
                del self.wanted[name], deployment.models[name]
            else:
                await deployment.add(name, *deployment.models[name])
        if self._models.on_demand is not None:
            self._models.on_demand.holds({name: _memory(each) for name, each in self.wanted.items() if each.on_demand})
        deployment.prove_now_and_then()

    async def _welcome(self, state: State) -> None:
        """Open the door, and let gateways come that were told this, or something older, before."""
        for name, model in state.models.items():
            error = refusal(name, model.failure) if model.failure and model.told else None
            told = (str(error), error.retry_after_s) if error else ()
            held = model.sleeps or not model.settled
            self._gateways.expect(name, Course(model.plan, model.epoch, held, *told))
        self._door.open()
        await self._gateways.caught_up(self._count, ATTEND_S)

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
            return await self._models.load(order)
        if isinstance(order, Unload):
            return await self._unload(order.model.removesuffix(f":{LATEST}"))
        if isinstance(order, Reload):
            return await self._models.reload(order.model.removesuffix(f":{LATEST}"))
        if isinstance(order, Wanting):
            self._chaining.heed(order)
            return await self._wishing.want(order)
        if isinstance(order, Steer):
            told = await self._rules.steer(order.rule)
            self._tell()
            return told
        if isinstance(order, Chaining):
            return await self._chaining.obey(order)
        if isinstance(order, Move):
            return await self._move(order)
        raise UserError(f"a controller takes no {type(order).__name__}; is this its door?")

    async def _unload(self, name: str) -> str:
        """Serve a model no longer, where no other name needs it."""
        self._rules.check_unused(self._models.of_name(name))
        return await self._models.unload(name)

    async def _move(self, order: Move) -> str:
        """Carry out a planned move; what was done, as JSON. A doubt moves nothing by itself, and neither does that all is told."""
        if order.kind == TOLD:
            self._all_told()
            await self._books.write()
            return ""
        if order.kind == DOUBT:
            self._doubt(order.worker)
            return ""
        kinds: dict[str, OrderKind] = {"drain": "drain", "rebalance": "rebalance", "upgrade": "upgrade"}
        if order.kind not in kinds:
            raise UnknownName.among("planned move", order.kind, kinds)
        done = await self._deployment.order(kinds[order.kind], order.worker)
        return msgspec.json.encode(done).decode()

    def _all_told(self) -> None:
        """From now on there is no model but those that are wanted."""
        if self._awaited:
            self._awaited = False
            self._wishes_changed()

    def _doubt(self, worker: str) -> None:
        """Somebody takes a worker to be gone: where nobody hears of it now, it is lost at once. Raises `UnknownName`."""
        if worker not in self._state.workers:
            raise UnknownName.among("worker", worker, self._state.workers)
        if worker in self._deployment.workers:
            self._deployment.workers.silent(worker)

    def _wishes_changed(self) -> None:
        """Tell what has become of wishes, and write it down."""
        self._books.note()
        self._tell_gateways()

    def _graph(self, digest: str) -> Graph:
        return stored_graph(digest, self._store)


def _memory(wanted: Wanted) -> int:
    return sum(stage.memory_bytes for stage in wanted.plan.stages)


if __name__ == "__main__":
    live(ControllerTold, control)
