"""A gateway's connection to the controller: it does what that wants, and goes on by itself while that is away."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from synfire.base.errors import SynfireError, TemporaryError
from synfire.base.log import LOGGER
from synfire.formats.bundle import stored_graph
from synfire.gateway.chains import AskedChains
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.recoveries import ToldRecoveries
from synfire.gateway.route import Again
from synfire.gateway.routes import Routes
from synfire.gateway.served import Served
from synfire.store import BlobStore
from synfire.wire.links import connect
from synfire.wire.links.watched import WatchedLink
from synfire.wire.messages import (
    BUSY,
    CHANGED,
    PROTOCOL,
    Attend,
    Chained,
    Chaining,
    Cut,
    Direct,
    Done,
    Failure,
    Hello,
    Member,
    Members,
    Move,
    Pressure,
    Reload,
    Residents,
    Rest,
    Standing,
    Steer,
    Tally,
    Traffic,
    Unload,
    Unwanted,
    Uses,
    Want,
    Wanting,
    Whole,
    Withdraw,
    check_hello,
    error_of,
    error_words,
)
from synfire.wire.stream import Packet
from synfire.wire.traffic import Rule
from synfire.wire.wish import Wish

AGAIN_S = 0.05
"""How often a controller that is away is called upon: it takes a second or so to come back, and calls may wait for it."""


PRESS_S = 0.1
"""How often a gateway looks how many calls there are of models that scale: one that sleeps is woken so late at most."""

TALLY_S = 5.0
"""How often a gateway tells what it has counted of names that answer by a rule, where that is something else than before."""


class Follower:
    """Made and used in one event loop; `run` is its life. `whole` is set once all that the controller had to tell is done.

    Graphs are read from the blobs in `store`. Orders are carried out one after the other, but for connecting to workers, which
    is begun at once: an order may wait for that.
    """

    def __init__(
        self, controller: str, deployment: str, plane: DataPlane, routes: Routes, store: BlobStore, told: ToldRecoveries
    ) -> None:
        self.whole = asyncio.Event()
        self._controller = controller
        self._deployment = deployment
        self._plane = plane
        self._routes = routes
        self._store = store
        self._told = told
        self._served = Served(plane)
        self._chains = AskedChains(plane)
        self._link: WatchedLink | None = None
        self._lost: asyncio.Future[SynfireError] | None = None
        self._greeted = False
        self._orders: asyncio.Queue[Direct | Withdraw | Rest | Traffic | Chained | Whole] = asyncio.Queue()
        self._reaching: dict[str, asyncio.Task[None]] = {}
        self._cut: set[str] = set()
        self._asked: dict[int, asyncio.Future[Done]] = {}
        self._tickets = itertools.count(1)
        self._pressed: Counter[str] = Counter()
        self._tallied = Tally()
        routes.on_cut(self._worker_cut)
        if plane.on_demand is not None:
            plane.on_demand.tell = self._tell

    async def run(self) -> None:
        """Follow the controller, and the next one when it is gone, until cancelled."""
        telling = [
            asyncio.create_task(self._press(), name="calls of models that scale"),
            asyncio.create_task(self._tally(), name="counts of names with a rule"),
        ]
        try:
            while True:
                with contextlib.suppress(TemporaryError):
                    await self._follow()
                await asyncio.sleep(AGAIN_S)
        finally:
            for task in (*telling, *self._reaching.values()):
                task.cancel()
            if self._link is not None:
                self._link.close()

    async def _press(self) -> None:
        """Tell how many calls there are of the models that scale by themselves, or of which stages sleep, whenever that is another number."""
        while True:
            await asyncio.sleep(PRESS_S)
            scaled = self._told.scaled
            calls: Counter[str] = Counter()
            for model in self._plane.models if scaled else ():
                if model.name in scaled and model.gate.accepted:
                    calls[model.name] += model.gate.accepted
            if calls != self._pressed:
                self._pressed = calls
                self._tell(Pressure(dict(calls)))

    async def _tally(self) -> None:
        """Tell what was counted of names that answer by a rule, whenever it is more."""
        while True:
            await asyncio.sleep(TALLY_S)
            tally = Tally(self._plane.traffic.told)
            if self._greeted and tally != self._tallied:
                self._tallied = tally
                self._tell(tally)

    async def load(self, model: str) -> None:
        """Have the controller serve a model again that was unloaded. Raises what it says, or that it is away."""
        await self._order(lambda ticket: Reload(model, ticket))

    async def unload(self, model: str) -> None:
        """Have the controller serve a model no longer. Raises as `load` does."""
        await self._order(lambda ticket: Unload(model, ticket))

    async def steer(self, rule: Rule) -> None:
        """Have the controller let a name answer by this rule. Raises as `load` does."""
        await self._order(lambda ticket: Steer(rule, ticket))

    async def want(self, model: str, wish: Wish | None) -> bool:
        """Have the controller serve a model so from now on; whether that is anything new. Raises as `load` does."""
        return await self._order(lambda ticket: Wanting(model, wish, ticket)) == CHANGED

    async def chain(self, chain: str, content: bytes) -> bool:
        """Have the controller serve a chain from now on, or no longer where it has no content; whether that is anything new. Raises as
        `load` does."""
        return await self._order(lambda ticket: Chaining(chain, content, ticket)) == CHANGED

    async def move(self, kind: str, worker: str = "") -> bytes:
        """Have the controller carry out a planned move; what was done, as JSON. Raises as `load` does."""
        return (await self._order(lambda ticket: Move(kind, worker, ticket))).encode()

    async def _order(self, made: Callable[[int], Reload | Unload | Steer | Wanting | Chaining | Move]) -> str:
        """Have the controller do what is `made` for a ticket; what it tells."""
        if self._link is None or not self._link.open or not self._greeted:
            raise TemporaryError("the controller is away for the moment; try again")
        ticket = next(self._tickets)
        answer = self._asked[ticket] = asyncio.get_running_loop().create_future()
        try:
            self._link.tell(Packet(made(ticket)))
            done = await answer
        finally:
            self._asked.pop(ticket, None)
        if done.kind:
            raise error_of(done)
        return done.told

    async def _follow(self) -> None:
        """Follow one controller until the connection to it breaks. Raises `TemporaryError` when it is not there."""
        link = connect(self._controller, "the controller")
        self._lost = lost = asyncio.get_running_loop().create_future()
        self._orders, self._greeted = asyncio.Queue(), False
        self._link = WatchedLink(link, self._take, lambda error: None if lost.done() else lost.set_result(error))
        self._link.send(Packet(Hello(PROTOCOL, self._deployment, self._routes.who, gateway=True)))
        epochs = {model: route.epoch for model, route in self._routes.by_model.items()}
        self._link.send(Packet(Attend(epochs)))
        obeying = asyncio.create_task(self._obey(), name="orders of the controller")
        try:
            LOGGER.info("the controller is away: %s", await lost)
        finally:
            for asked in self._asked.values():
                _settle(asked, Done("TemporaryError", "the controller was lost; see what is served now"))
            obeying.cancel()
            await asyncio.gather(obeying, return_exceptions=True)
            self._link.close()

    def _take(self, packet: Packet) -> None:
        message = packet.message
        if not self._greeted:
            if isinstance(message, Failure):
                raise error_of(message)
            check_hello(message, self._deployment)
            self._greeted, self._pressed, self._tallied = True, Counter(), Tally()
            if self._plane.on_demand is not None:
                self._plane.on_demand.attend()
        elif isinstance(message, Members):
            self._connect(message.workers)
        elif isinstance(message, Standing):
            self._told.hear(message)
        elif isinstance(message, Done):
            if message.ticket in self._asked:  # else nobody waits for it any more
                _settle(self._asked[message.ticket], message)
        elif isinstance(message, (Direct, Withdraw, Rest, Traffic, Chained, Whole)):
            self._orders.put_nowait(message)
        elif self._plane.on_demand is not None and isinstance(message, Unwanted):
            self._plane.on_demand.refused(message)
        elif self._plane.on_demand is not None and isinstance(message, Residents):
            self._plane.on_demand.residents = message.models

    def _tell(self, message: Done | Cut | Want | Uses | Pressure | Tally) -> None:
        if self._link is not None and (self._greeted or not isinstance(message, (Want, Uses, Pressure))):
            self._link.tell(Packet(message))

    def _worker_cut(self, worker: str, by: str = "", for_s: float = 0.0) -> None:
        """The connection to the worker is broken; or another worker cannot reach it, which that one's next call tells again."""
        if not by:
            self._cut.add(worker)
        self._tell(Cut(worker, by, for_s))

    def _connect(self, members: Iterable[Member]) -> None:
        """Be connected to these workers. What was cut off stays so until the controller has heard of it, and left it out."""
        wanted = {each.name: each for each in members}
        for name in {*self._routes.peers, *self._reaching} - set(wanted):
            self._routes.part(name)
            if name in self._reaching:
                self._reaching.pop(name).cancel()
        self._cut &= set(wanted)
        for name in self._cut:
            self._tell(Cut(name))
        for name in set(wanted) - {*self._routes.peers, *self._reaching, *self._cut}:
            self._reaching[name] = asyncio.create_task(self._reach(wanted[name]), name=f"reach {name}")

    async def _reach(self, member: Member) -> None:
        try:
            await self._routes.reach(member.name, member.address, member.url)
        except TemporaryError as error:
            LOGGER.info("%s", error)
            self._worker_cut(member.name)
        finally:
            if self._reaching.get(member.name) is asyncio.current_task():
                del self._reaching[member.name]

    async def _obey(self) -> None:
        while True:
            order = await self._orders.get()
            try:
                done = await _DOING[type(order)](self, order)
            except SynfireError as error:
                LOGGER.error("the controller's order cannot be carried out: %s", error)
                done = Done(*error_words(error))
            self._tell(done)

    async def _direct(self, order: Direct) -> Done:
        model, plan, epoch = order.model, order.plan, order.epoch
        await self._reached(plan.workers)
        again = Again()
        if model not in self._routes.by_model:
            await self._serve(order)
        route = self._routes.by_model[model]
        if order.failure:
            await self._routes.fail(model, epoch, TemporaryError(order.failure, order.retry_after_s))
        elif order.held:
            await self._routes.suspend(model, epoch)
        elif not route.open or route.epoch != epoch or route.broken:
            again = await self._routes.resume(model, plan, epoch)
        if order.on_demand and self._plane.on_demand is not None and not order.held:
            self._plane.on_demand.arrived(model)
        return Done(replayed=again.calls, restored=again.sessions)

    async def _serve(self, order: Direct) -> None:
        graph = await asyncio.to_thread(stored_graph, order.digest, self._store)
        await self._routes.serve(order.model, graph, order.plan, order.epoch)
        if order.on_demand and self._plane.on_demand is not None:
            self._plane.on_demand.joins(order.model)
        self._served.add(order.model, self._routes.by_model[order.model], order.version, order.priority)

    async def _reached(self, workers: Iterable[str]) -> None:
        """Wait until these workers are connected, or are known not to be."""
        tasks = [self._reaching[name] for name in workers if name in self._reaching]
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _withdraw(self, order: Withdraw) -> Done:
        await self._remove(order.model)
        return Done()

    async def _rest(self, order: Rest) -> Done:
        """Nothing is awaited between looking whether anybody calls it, and calling it being another matter."""
        if order.closing:
            return Done() if self._served.close(order.model) else Done(told=BUSY)
        on_demand = self._plane.on_demand
        if on_demand is not None and not on_demand.is_idle(order.model, order.idle_s):
            return Done(told=BUSY)
        await self._remove(order.model)
        return Done()

    async def _remove(self, model: str) -> None:
        if model in self._routes.by_model:
            self._served.remove(model)
            if self._plane.on_demand is not None:
                self._plane.on_demand.left(model)
            await self._routes.remove(model)

    async def _steer(self, order: Traffic) -> Done:
        self._plane.traffic.follow(order.rules)
        return Done()

    async def _chain(self, order: Chained) -> Done:
        self._chains.follow(order.chain)
        return Done()

    async def _be_whole(self, order: Whole) -> Done:
        self._chains.keep(order.chains)
        for model in set(self._routes.by_model) - set(order.models):
            await self._remove(model)
        self._plane.traffic.follow(order.rules)
        self.whole.set()
        return Done()


def _settle(future: asyncio.Future[Done], done: Done) -> None:
    if not future.done():  # who asked may have gone away
        future.set_result(done)


_DOING: dict[type, Callable[[Follower, Any], Awaitable[Done]]] = {
    Direct: Follower._direct,
    Withdraw: Follower._withdraw,
    Rest: Follower._rest,
    Traffic: Follower._steer,
    Chained: Follower._chain,
    Whole: Follower._be_whole,
}
