"""A local deployment that replaces what it loses: the controller's hands on worker processes and routes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any

from synfire.base.clock import SystemClock
from synfire.base.errors import SynfireError, TemporaryError
from synfire.base.log import LOGGER
from synfire.control import events, relief
from synfire.control.apply import apply
from synfire.control.arrival import received
from synfire.control.controller import Controller
from synfire.control.decide import decide
from synfire.control.moves import check
from synfire.control.order import Order, OrderKind
from synfire.control.state import HOST, PROCESSOR, ModelView, Recovery, State
from synfire.deploy.healed import Healed
from synfire.deploy.hosting import Hosting, hostings, relinks
from synfire.deploy.planned import devices_of
from synfire.devices import DEVICES
from synfire.plan import Plan
from synfire.plan.parts import unsplit
from synfire.plan.plan import stage_graph
from synfire.plan.replicas import Range
from synfire.wire.messages import Joined, StageLost, StageMended, Unhost
from synfire.wire.stream import Packet

_COME_BACK_S = 5.0
"""When whoever calls a model that has no place should ask again: a worker takes a second or few to start."""

LEAVE_S = 10.0
"""For how long a worker that is told to leave goes on answering while others build its stages, in seconds: a third of what it has."""

RENEW_S = 100.0
"""How long a worker that takes another one's place on its machine may take until it counts, in seconds: what it may take to join, and some."""


class Healing:
    """Hears of lost workers, and has others take over. Made and used in the deployment's event loop."""

    def __init__(self, deployment: Healed, spares: int, keep: Callable[[Recovery], None]) -> None:
        self._deployment = deployment
        self._now_s = SystemClock().now_s
        self._asked: dict[str, asyncio.Future[Order]] = {}
        self._orders = itertools.count(1)
        self._looking: asyncio.TimerHandle | None = None
        self._expected = devices_of(plan for _, plan in deployment.models.values())
        """The kind of every worker with a device that plans have named, for when it is started."""
        self.controller = Controller(self, SystemClock(), keep, self._beginning(spares))

    def take_over(self, state: State, told: Iterable[events.Event]) -> None:
        """Go on from where another controller was (see `synfire.control.adoption`); until `go_on` nothing is decided."""
        self.controller.take_over(state, told)

    def go_on(self) -> None:
        """Decide from now on."""
        self.controller.go_on()

    def epochs_seen(self, epochs: Mapping[str, int]) -> None:
        """Somebody follows these epochs, by model."""
        for model, epoch in epochs.items():
            self.controller.tell(events.EpochSeen(self._now_s(), model, epoch))

    def worker_ready(self, name: str, group: str = "", back: bool = False, joined: Joined | None = None) -> None:
        """The worker holds nothing. One of another machine has brought its device, and has no more room than that machine."""
        kind, memory_bytes = self.kind(name), self._deployment.settings.memory_bytes
        cores = self.controller.state.cores.get(kind)
        if joined is not None:
            kind, cores = joined.device or PROCESSOR, joined.device_cores
            memory_bytes = min(memory_bytes or joined.memory_bytes, joined.memory_bytes) or None
        nature = (True, joined.role, joined.stays) if joined is not None else (False, HOST, "")
        self.controller.tell(events.WorkerReady(self._now_s(), name, kind, group, memory_bytes, back, *nature, cores))
        self._look_later()

    def retry(self) -> None:
        """Try to start workers again, if that was given up, and ways between workers that were broken; and spread stages where hosts have come or
        gone."""
        state = self.controller.state
        if not state.starts or state.severed or relief.due_s(state) is not None:
            self.controller.tell(events.Retry(self._now_s()))

    def worker_lost(self, name: str, cause: str, began_s: float | None = None) -> None:
        """The worker is gone; `began_s` is when it was last heard of, if that is long ago."""
        now_s = self._now_s()
        self.controller.tell(events.WorkerLost(now_s, name, cause, now_s if began_s is None else began_s))

    def worker_leaves(self, name: str) -> Coroutine[Any, Any, None] | None:
        """The worker is about to go: what has to be awaited until those who will take over have built its stages; None where they have."""
        now_s, state = self._now_s(), self.controller.state
        without, under_way = apply(state, events.WorkerLost(now_s, name, "leaving", now_s)), decide(state)
        new = [each for each in decide(without) if each not in under_way]
        unbuilt = [each for each in new if isinstance(each, events.Adopt) and not each.prepared]
        return self._build(without, unbuilt) if unbuilt else None

    async def _build(self, later: State, adopted: Iterable[events.Adopt]) -> None:
        """Have workers build what they will adopt, but for no longer than whoever leaves has."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                for each in adopted:
                    plan = later.models[each.model].plan
                    stage = plan.stage(each.stage)
                    wanted = events.Prepare(
                        each.model, stage.original, each.worker, plan.engine_of(stage), stage.operators
                    )
                    self.controller.tell(await self.prepare(wanted))

    def severed(self, name: str, by: str, for_s: float) -> None:
        """The worker `by` has not reached another for so many seconds; both live."""
        now_s = self._now_s()
        self.controller.tell(events.Severed(now_s, name, by, now_s - for_s))

    def device_lost(self, name: str, report: StageLost) -> None:
        """The worker goes on without its device; what ran there goes to another one, or to a processor."""
        now_s = self._now_s()
        self.controller.tell(events.DeviceLost(now_s, name, report.cause, now_s - report.ago_s, report.reason))

    def device_mended(self, name: str, report: StageMended) -> None:
        """The worker has made good a fault of its device, and goes on as before."""
        now_s = self._now_s()
        began_s = now_s - report.ago_s
        spans = tuple((lap.name, began_s + lap.after_s, began_s + lap.after_s + lap.took_s) for lap in report.laps)
        self.controller.tell(
            events.DeviceMended(
                now_s,
                name,
                report.model,
                report.stage,
                report.cause,
                report.target,
                report.detail,
                began_s,
                spans,
                report.bytes_written,
                report.replayed,
                report.restored,
            )
        )

    def receive(self, plan: Plan) -> ModelView:
        """The model that begins, every stage in a place that can take it. Raises as `synfire.control.arrival.received` does."""
        found = received(self.controller.state, plan)
        self._expected |= devices_of([found.plan])
        return found

    def model_added(self, model: ModelView, on_demand: bool = False) -> None:
        priority = self._deployment.priorities.get(model.name, 0)
        plan = unsplit(model.plan, self._deployment.services.get(model.name, ()))
        kinds = frozenset(devices_of([plan]).values()) if model.fresh else frozenset()
        now_s = self._now_s()
        self.controller.tell(events.ModelAdded(now_s, plan, priority, on_demand, model.substituted, model.fresh, kinds))

    def model_removed(self, model: str) -> None:
        self.controller.tell(events.ModelRemoved(self._now_s(), model))

    def ranked(self, model: str, priority: int) -> None:
        """The model has another priority from now on."""
        self.controller.tell(events.Ranked(self._now_s(), model, priority))

    def slept(self, model: str, asleep: bool) -> None:
        """Nobody calls the model, so that it is to be on no worker; or somebody does again."""
        self.controller.tell(events.Slept(self._now_s(), model, asleep))

    def rested(self, model: str, stages: frozenset[str]) -> None:
        """Nobody calls the model, so that these stages of it, and no others, are to be on no worker."""
        self.controller.tell(events.Rested(self._now_s(), model, stages))

    def pressed(self, model: str, stage: str, replicas: int) -> None:
        """A stage has so much to do that it is to have so many replicas."""
        self.controller.tell(events.Pressed(self._now_s(), model, stage, replicas))

    def ranged(self, model: str, ranges: Mapping[str, Range]) -> None:
        """These stages of the model are to have so many replicas, and the others a single one."""
        self.controller.tell(events.Ranged(self._now_s(), model, ranges))

    def dismiss(self, worker: str) -> None:
        """End a worker that was started for a model which is gone, unless it is of use as a spare, or something else is on it."""
        self.controller.tell(events.Dismissed(self._now_s(), worker))

    def kind(self, name: str) -> str:
        """The device class of a worker, also of one that is being started."""
        known = self.controller.state.workers.get(name)
        return known.kind if known else self._expected.get(name, PROCESSOR)

    async def order(self, kind: OrderKind, worker: str = "") -> Order:
        """Carry out a planned move, and return what was done. Raises `UnknownName` for a worker that is not there,
        `TemporaryError` when the move is not possible now, or the deployment stops; what was moved until then stays so."""
        check(self.controller.state, kind, worker)
        given = {each.id for each in self.controller.state.orders}  # also to a controller before this one
        order = next(name for n in self._orders if (name := f"order-{n}") not in given)
        answer = self._asked[order] = asyncio.get_running_loop().create_future()
        self.controller.tell(events.Ordered(self._now_s(), order, kind, worker))
        done = await answer
        if done.failure:
            raise TemporaryError(done.failure)
        return done

    def close(self) -> None:
        """Whoever waits for an order is told that nothing more comes of it."""
        if self._looking is not None:
            self._looking.cancel()
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(TemporaryError("the deployment is stopping, and moves nothing any more"))

    async def act(self, action: events.Action) -> events.Event:
        """Do one of the controller's actions; see `synfire.control.controller.Hands`."""
        return await _DOING[type(action)](self, action)

    async def suspend(self, action: events.Suspend) -> events.Event:
        if action.model not in self._deployment.models:
            return self._nothing()
        await self._deployment.gateways.suspend(action.model, action.epoch)
        return events.Suspended(self._now_s(), action.model, action.epoch)

    async def adopt(self, action: events.Adopt) -> events.Event:
        hosting = next((h for h in self._hostings(action.model, action.epoch) if h.host.stage == action.stage), None)
        worker = self._deployment.workers.get(action.worker)
        if hosting is None or worker is None:
            return self._nothing()
        try:
            hosted = await worker.peer.host(hosting.host, None if action.prepared else hosting.graph)
        except SynfireError as error:
            return self._refused(action, error)
        if action.model not in self._deployment.models:  # it was removed meanwhile
            self._deployment.unhost(action.model)
            return self._nothing()
        if not self._deployment.known.right(action.model, action.stage, action.worker, hosted.answer):
            return self._nothing()  # the worker is lost, and that is told
        agreement = self._deployment.known.agreements.get((action.model, action.stage))
        return events.Adopted(
            self._now_s(), action.model, action.stage, action.worker, action.epoch, hosted.proof_s, agreement
        )

    async def relink(self, action: events.Relink) -> events.Event:
        found = self._hostings(action.model, action.epoch)
        worker = self._deployment.workers.get(action.worker)
        if not found or worker is None:
            return self._nothing()
        await worker.peer.relink(relinks(found, action.stages)[action.worker])
        return events.Relinked(self._now_s(), action.model, action.worker, action.stages, action.epoch)

    async def resume(self, action: events.Resume) -> events.Event:
        plan = self._plan(action.model, action.epoch)
        if action.model not in self._deployment.models or plan is None:
            return self._nothing()
        again = await self._deployment.gateways.resume(action.model, plan, action.epoch)
        self._deployment.changed()
        return events.Resumed(self._now_s(), action.model, action.epoch, again.calls, again.sessions)

    async def give_up(self, action: events.GiveUp) -> events.Event:
        if action.model in self._deployment.models:
            view = self.controller.state.models[action.model]
            await self._deployment.gateways.fail(action.model, view.epoch, refusal(action.model, action.reason))
        return events.GivenUp(self._now_s(), action.model, action.reason)

    async def start(self, action: events.Start) -> events.Event:
        try:
            await self._deployment.start_workers([action.worker], action.anew)
        except SynfireError as error:
            LOGGER.error("%s", error)
            now_s = self._now_s()
            return events.WorkerLost(now_s, action.worker, "did not start", now_s)
        return self._nothing()  # `start_workers` has told it

    async def renew(self, action: events.Renew) -> events.Event:
        """That it has joined is told by itself; so that it is waited for here until it counts."""
        try:
            async with asyncio.timeout(RENEW_S):
                await self._deployment.workers.renew(action.worker, action.successor)
                await self.controller.until(lambda state: state.living(action.successor))
        except SynfireError as error:
            return events.NotJoined(self._now_s(), action.successor, str(error))
        except TimeoutError:
            return events.NotJoined(
                self._now_s(), action.successor, f"{action.successor} has not joined in {RENEW_S:g} s"
            )
        return self._nothing()

    async def prepare(self, action: events.Prepare) -> events.Event:
        worker, model = self._deployment.workers.get(action.worker), self._deployment.models.get(action.model)
        view = self.controller.state.models.get(action.model)
        if worker is None or model is None or view is None:
            return self._nothing()
        graph, _ = model
        part = await asyncio.to_thread(stage_graph, graph, action.operators)
        try:
            await worker.peer.prepare(action.engine, part)
        except SynfireError as error:
            return self._refused(action, error)
        return events.PreparedOn(self._now_s(), action.model, action.stage, action.worker)

    async def drop(self, action: events.Drop) -> events.Event:
        """What is of no use any more is looked up when it is done: the stages may be wanted there again."""
        view, worker = self.controller.state.models.get(action.model), self._deployment.workers.get(action.worker)
        if view is None or worker is None:
            return self._nothing()
        stages = tuple(stage for stage, home in view.leftover if home == action.worker and stage in action.stages)
        if stages:  # none at all would mean the whole model
            with contextlib.suppress(SynfireError):  # a worker that is gone holds nothing
                worker.peer.send(Packet(Unhost(action.model, stages)))
        return events.Dropped(self._now_s(), action.model, action.worker, stages)

    async def retire(self, action: events.Retire) -> events.Event:
        await self._deployment.workers.retire(action.worker)
        now_s = self._now_s()
        return events.WorkerLost(now_s, action.worker, "retired", now_s)

    async def answer(self, action: events.Answer) -> events.Event:
        """After an upgrade what runs is known to do well: whatever is begun later is to be begun of that code, too."""
        order = next((each for each in self.controller.state.orders if each.id == action.id), None)
        if order is not None and order.kind == "upgrade" and not order.failure:
            self._deployment.workers.renew_all()
        asked = self._asked.pop(action.id, None)
        if order is not None and asked is not None and not asked.done():
            asked.set_result(order)
        return events.Answered(self._now_s(), action.id)

    def _look_later(self) -> None:
        """Look whether stages are to be spread when that may be so. What is not quiet then is looked at whenever something happens."""
        due_s, now_s = relief.due_s(self.controller.state), self._now_s()
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        if due_s is not None and due_s > now_s:
            self._looking = asyncio.get_running_loop().call_later(due_s - now_s, self._look)

    def _look(self) -> None:
        self.retry()
        self._look_later()

    def _beginning(self, spares: int) -> State:
        """Nothing is there yet. As many devices as the plans use, and one for each spare, are."""
        settings, kinds = self._deployment.settings, Counter(self._expected.values())
        return State(
            spares=spares,
            begins=settings.begins,
            prepare=settings.prepare,
            memory_bytes=settings.memory_bytes,
            cores={kind: room for kind in sorted(kinds) if (room := DEVICES[kind].room()) is not None},
            most_workers=settings.most_workers,
            devices={kind: count + spares for kind, count in sorted(kinds.items())} if settings.begins else {},
            spare_kind=min(kinds, default=PROCESSOR),
        )

    def _plan(self, model: str, epoch: int) -> Plan | None:
        """The plan that is wanted, if `epoch` is not over."""
        view = self.controller.state.models.get(model)
        return view.plan if view is not None and view.epoch == epoch else None

    def _hostings(self, model: str, epoch: int) -> list[Hosting]:
        view, known = self.controller.state.models.get(model), self._deployment.models.get(model)
        if view is None or view.epoch != epoch or known is None:
            return []
        if not {stage.worker for stage in view.placed} <= set(self._deployment.workers):
            return []
        addresses = {name: worker.address for name, worker in self._deployment.workers.items()}
        services = self._deployment.services.get(model)
        parts = self._deployment.parts.setdefault(model, {})
        ways = self._deployment.workers.outside()
        return hostings(
            known[0], view.plan, addresses, services, epoch=epoch, parts=parts, outside=ways, resting=view.resting
        )

    def _refused(self, action: events.Adopt | events.Prepare, error: SynfireError) -> events.Event:
        worker = self._deployment.workers.get(action.worker)
        if worker is None or worker.peer.lost is not None:
            return self._nothing()
        LOGGER.warning("worker %s refuses stage %s of %s: %s", action.worker, action.stage, action.model, error)
        return events.Refused(self._now_s(), action.model, action.stage, action.worker, str(error))

    def _nothing(self) -> events.Nothing:
        return events.Nothing(self._now_s())


def refusal(model: str, reason: str) -> TemporaryError:
    """What calls of a model that has no place are answered."""
    return TemporaryError(f"model {model!r} cannot be served: {reason}", _COME_BACK_S)


_DOING: dict[type[events.Action], Callable[[Healing, Any], Awaitable[events.Event]]] = {
    events.Suspend: Healing.suspend,
    events.Adopt: Healing.adopt,
    events.Relink: Healing.relink,
    events.Resume: Healing.resume,
    events.GiveUp: Healing.give_up,
    events.Start: Healing.start,
    events.Renew: Healing.renew,
    events.Prepare: Healing.prepare,
    events.Drop: Healing.drop,
    events.Retire: Healing.retire,
    events.Answer: Healing.answer,
}
