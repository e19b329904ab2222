"""A local deployment that replaces what it loses: the controller's hands on worker processes and routes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from synfire.base.clock import SystemClock
from synfire.base.errors import SynfireError, TemporaryError
from synfire.base.log import LOGGER
from synfire.control import events
from synfire.control.controller import Controller
from synfire.control.state import Recovery, State
from synfire.deploy.hosting import Hosting, hostings, relinks
from synfire.plan import Plan
from synfire.plan.plan import stage_graph

if TYPE_CHECKING:
    from synfire.deploy.local import LocalDeployment


class Healing:
    """Hears of lost workers, and has others take over. Made and used in the deployment's event loop."""

    def __init__(self, deployment: LocalDeployment, spares: int, keep: Callable[[Recovery], None]) -> None:
        state = State(spares=spares, prepare=deployment.settings.prepare)
        self.controller = Controller(self, SystemClock(), keep, state)
        self._deployment = deployment
        self._now_s = SystemClock().now_s

    def worker_ready(self, name: str) -> None:
        self.controller.tell(events.WorkerReady(self._now_s(), name))

    def worker_lost(self, name: str, cause: str, began_s: float | None = None) -> None:
        """The worker is gone; `began_s` is when it was last heard of, if that is long ago."""
        now_s = self._now_s()
        self.controller.tell(events.WorkerLost(now_s, name, cause, now_s if began_s is None else began_s))

    def model_added(self, plan: Plan) -> None:
        self.controller.tell(events.ModelAdded(self._now_s(), plan))

    def model_removed(self, model: str) -> None:
        self.controller.tell(events.ModelRemoved(self._now_s(), model))

    async def act(self, action: events.Action) -> events.Event:
        """Do one of the controller's actions; see `synfire.control.controller.Hands`."""
        return await _DOING[type(action)](self, action)

    async def suspend(self, action: events.Suspend) -> events.Event:
        route = self._deployment.routes.get(action.model)
        if route is None:
            return self._nothing()
        route.suspend()
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
        if not self._deployment.right(action.model, action.stage, action.worker, hosted.answer):
            return self._nothing()  # the worker is lost, and that is told
        return events.Adopted(self._now_s(), action.model, action.stage, action.worker, action.epoch, hosted.proof_s)

    async def relink(self, action: events.Relink) -> events.Event:
        found = self._hostings(action.model, action.epoch)
        worker = self._deployment.workers.get(action.worker)
        if not found or worker is None:
            return self._nothing()
        await worker.peer.relink(relinks(found, action.stages)[action.worker])
        return events.Relinked(self._now_s(), action.model, action.worker, action.stages, action.epoch)

    async def resume(self, action: events.Resume) -> events.Event:
        route, plan = self._deployment.routes.get(action.model), self._plan(action.model, action.epoch)
        if route is None or plan is None:
            return self._nothing()
        replayed = route.resume(plan, self._deployment.peers, action.epoch)
        self._deployment.changed()
        return events.Resumed(self._now_s(), action.model, action.epoch, replayed)

    async def give_up(self, action: events.GiveUp) -> events.Event:
        route = self._deployment.routes.get(action.model)
        if route is not None:
            route.fail(
                TemporaryError(
                    f"model {action.model!r} cannot be served: {action.reason}, and no worker can be started; see the log, and "
                    "start the deployment again"
                )
            )
        return events.GivenUp(self._now_s(), action.model, action.reason)

    async def start(self, action: events.Start) -> events.Event:
        try:
            await self._deployment.start_workers([action.worker])
        except SynfireError as error:
            LOGGER.error("%s", error)
            now_s = self._now_s()
            return events.WorkerLost(now_s, action.worker, "did not start", now_s)
        return self._nothing()  # `start_workers` has told it

    async def prepare(self, action: events.Prepare) -> events.Event:
        worker, model = self._deployment.workers.get(action.worker), self._deployment.models.get(action.model)
        view = self.controller.state.models.get(action.model)
        if worker is None or model is None or view is None:
            return self._nothing()
        graph, _ = model
        stage = view.plan.stage(action.stage)
        part = await asyncio.to_thread(stage_graph, graph, stage.operators)
        try:
            await worker.peer.prepare(view.plan.engine_of(stage), part)
        except SynfireError as error:
            return self._refused(action, error)
        return events.PreparedOn(self._now_s(), action.model, action.stage, action.worker)

    def _plan(self, model: str, epoch: int) -> Plan | None:
        """The plan that is wanted, if `epoch` is not over."""
        view = self.controller.state.models.get(model)
        return view.plan if view is not None and view.epoch == epoch else None

    def _hostings(self, model: str, epoch: int) -> list[Hosting]:
        plan, known = self._plan(model, epoch), self._deployment.models.get(model)
        if plan is None or known is None or not set(plan.workers) <= set(self._deployment.workers):
            return []
        addresses = {name: worker.address for name, worker in self._deployment.workers.items()}
        services = self._deployment.services.get(model)
        parts = self._deployment.parts.setdefault(model, {})
        return hostings(known[0], plan, addresses, services, epoch=epoch, parts=parts)

    def _refused(self, action: events.Adopt | events.Prepare, error: SynfireError) -> events.Event:
        worker = self._deployment.workers.get(action.worker)
        if worker is None or worker.peer.lost is not None:
            return self._nothing()
        return events.Refused(self._now_s(), action.model, action.stage, action.worker, str(error))

    def _nothing(self) -> events.Nothing:
        return events.Nothing(self._now_s())


_DOING: dict[type[events.Action], Callable[[Healing, Any], Awaitable[events.Event]]] = {
    events.Suspend: Healing.suspend,
    events.Adopt: Healing.adopt,
    events.Relink: Healing.relink,
    events.Resume: Healing.resume,
    events.GiveUp: Healing.give_up,
    events.Start: Healing.start,
    events.Prepare: Healing.prepare,
}
