"""What must hold in a simulation, whatever fails: for each answer, for each worker, and at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from synfire.base.errors import DeadlineExceeded, SynfireError, TemporaryError, UnknownName
from synfire.control import events
from synfire.control.state import READY, RETIRING, ModelView, State
from synfire.gateway.request import Answer, Request
from synfire.ops import Clock
from synfire.testing.simulation.loop import Life, VirtualLoop
from synfire.testing.simulation.models import SHAPES, STAGE_BYTES, answers_of, graph_of, inputs_of, memory_of
from synfire.testing.simulation.schedules import PATIENT_S, Asked
from synfire.wire.batches import part
from synfire.wire.messages import Batch, Frame, Host
from synfire.wire.stream import Packet, array_bytes

if TYPE_CHECKING:
    from synfire.gateway.peer import WorkerPeer
    from synfire.gateway.routes import Routes
    from synfire.testing.simulation.arrangement import Arrangement
    from synfire.testing.simulation.network import Network, SimulatedLink
    from synfire.testing.simulation.worker import SimulatedWorker

_PROMPT_S = 0.02
"""How long after its deadline a call may be answered."""


class Violation(Exception):
    """Raised when something that synfire promises does not hold."""


class Facts:
    """What really happened, as far as it justifies an error. `state` gives what the controller knows."""

    def __init__(self, state: Callable[[], State]) -> None:
        self.state = state
        self._removals: dict[str, int] = {}
        self._epochs: dict[str, int] = {}
        self._hosted: set[tuple[str, str, str, int]] = set()
        self._refusals: dict[str, str] = {}
        self._ended_s: dict[tuple[str, str], float] = {}
        self._wrong = ""
        self._severed = 0
        self._deaths_s: dict[str, list[float]] = {}
        self.wanted: dict[str, bool] = {}
        """Whether a model is to be served; what is being changed, or was not said to be done, is not here."""
        self.keeper: Callable[[str], str] = lambda session: ""

    def killed(self, process: str, now_s: float) -> None:
        """The controller or a gateway is killed."""
        self._deaths_s.setdefault(process, []).append(now_s)

    def died(self, process: str, since_s: float) -> bool:
        """Whether it was killed since then."""
        return any(each >= since_s for each in self._deaths_s.get(process, ()))

    def removed(self, model: str) -> None:
        """A model is served no longer."""
        self._removals[model] = self._removals.get(model, 0) + 1
        self._hosted = {each for each in self._hosted if each[1] != model}

    def removals(self, model: str) -> int:
        return self._removals.get(model, 0)

    def acting(self, action: events.Action, now_s: float) -> None:
        """The controller's hands begin an action: a model's calls are refused from one `GiveUp` to the next `Resume`."""
        if isinstance(action, events.GiveUp):
            self._refusals[action.model] = action.reason
        if isinstance(action, events.Resume) and action.model in self._refusals:
            self._ended_s[action.model, self._refusals.pop(action.model)] = now_s

    def refused(self, model: str, text: str, now_s: float) -> bool:
        """Whether calls of the model are, or were until just now, to be answered by such an error."""
        standing = self._refusals.get(model)
        over = (reason for (name, reason), s in self._ended_s.items() if name == model and s >= now_s - _PROMPT_S)
        return any(reason and f"cannot be served: {reason}" in text for reason in (standing, *over))

    def heard(self, event: events.Event, before: State, after: State, now_s: float) -> None:
        """The controller has heard something: nobody is stopped for less than himself, no upgrade leaves models unprotected."""
        if isinstance(event, events.Resumed) and event.model in self._refusals:  # also by a controller that takes over
            self._ended_s[event.model, self._refusals.pop(event.model)] = now_s
        for name, model in after.models.items():
            if model.stopped and name in before.models and not before.models[name].stopped:
                self._wrong = self._wrong or _stopped_wrongly(after, model)
        # Whoever gives way lives on, beside the worker that was started in its place.
        self._severed += isinstance(event, events.Severed)
        order = next((each for each in after.orders if not each.over), None)
        retiring = {name for name, each in after.workers.items() if each.status == RETIRING and before.living(name)}
        if order is not None and order.kind == "upgrade" and retiring and len(after.idle()) < after.spares:
            self._wrong = self._wrong or f"{sorted(retiring)} go, which leaves fewer than {after.spares} spares"

    def check(self, no_starts: bool) -> None:
        """Raise `Violation` for what was heard and should not have been, for models that are stopped in spite of room, and for
        workers that nobody wants.

        With `no_starts`, no worker would start.
        """
        state = self.state()
        stopped = [model for model in state.models.values() if model.stopped]
        wrong = self._wrong or next(filter(None, (_stopped_wrongly(state, model) for model in stopped)), "")
        ready = sum(each.status == READY for each in state.workers.values())
        wanted = state.complement + self._severed
        if ready > wanted:
            wrong = wrong or f"{ready} workers run, where {wanted} are wanted, spares included"
        for name, served in self.wanted.items():
            if served != (name in state.models):
                wrong = wrong or f"{name} is said to be {'served' if served else 'removed'}, and is not"
        vacant = state.most_workers is None or len(state.workers) < state.most_workers
        if stopped and vacant and not no_starts:
            wrong = wrong or f"{stopped[0].name} is still stopped ({stopped[0].failure}), and a worker could be started"
        if wrong:
            raise Violation(wrong)

    def passes(self, link: SimulatedLink, packet: Packet) -> None:
        """A packet is sent: within a request's attempt all frames are of one epoch, and a stage is hosted once in each."""
        frame = packet.message
        if isinstance(frame, Host):
            key = (link.holder, frame.model, frame.stage, frame.epoch)
            if key in self._hosted:
                raise Violation(f"{key[0]} is told again to host {frame.model}.{frame.stage} in epoch {frame.epoch}")
            self._hosted.add(key)
        for each in part(packet):
            self._in_one_epoch(link, each.message)

    def _in_one_epoch(self, link: SimulatedLink, frame: object) -> None:
        if isinstance(frame, Frame):
            epoch = self._epochs.setdefault(frame.request, frame.epoch)
            if frame.epoch != epoch:
                raise Violation(
                    f"{link.owner} sends a frame of epoch {frame.epoch} for {frame.request}, which was sent out in {epoch}"
                )


class Answering:
    """One call and what came back so far. `begun` are the earlier calls of its session, all answered, which began at `since_s`."""

    def __init__(
        self, asked: Asked, begun: tuple[Asked, ...], facts: Facts, loop: VirtualLoop, ends: bool, since_s: float = 0.0
    ) -> None:
        self.asked = asked
        self.streamed = asked.part_steps > 0
        self._begun = begun
        self._facts = facts
        self._loop = loop
        self._ends = ends
        self._wanted = answers_of(tuple((c.model, c.inputs, c.batch, c.steps) for c in (*begun, asked)))[-1]
        self._deadline_s = loop.time() + (asked.timeout_s or PATIENT_S)
        self._since_s = since_s
        self._removals = facts.removals(asked.model)
        self._steps = self._parts = 0
        self._done = False

    @property
    def leaves(self) -> bool:
        """Whether the caller goes away now."""
        return self.asked.leaves_after >= 0 and self._parts > self.asked.leaves_after

    def request(self) -> Request:
        """The call as the data plane takes it."""
        asked, graph = self.asked, graph_of(self.asked.model)
        given = inputs_of(asked.model, asked.inputs, asked.batch, asked.steps)
        inputs = {name: each.swapaxes(0, 1) if graph.inputs[name].timed else each for name, each in given.items()}
        return Request(
            asked.model,
            inputs,
            id=asked.name,
            session=asked.session,
            start=bool(asked.session) and not self._begun,
            end=bool(asked.session) and self._ends,
            timeout_s=asked.timeout_s,
            part_steps=asked.part_steps,
        )

    def take(self, part: Answer) -> None:
        """Check a part: the next steps, with the right bits, none after the last."""
        where = f"{self.asked.name}, steps {part.first_step}+{part.steps}"
        if self._done:
            raise Violation(f"{where}: a part after the last")
        if self._loop.time() > self._deadline_s + _PROMPT_S:
            raise Violation(f"{where}: came {self._loop.time() - self._deadline_s:.3f} s after the deadline")
        if part.first_step != self._steps:
            raise Violation(f"{where}: the part that should come begins at step {self._steps}")
        self._steps += part.steps
        self._parts += 1
        self._done = part.last
        if part.last != (self._steps == self.asked.steps):
            raise Violation(f"{where}: is {'' if part.last else 'not '}the last of {self.asked.steps} steps")
        self._check_bits(part, where)

    def end(self) -> None:
        """The answer is over."""
        if not self._done:
            raise Violation(
                f"{self.asked.name} was answered by {self._steps} of {self.asked.steps} steps, and no error"
            )

    def refused(self, error: SynfireError) -> None:
        """Check that the error is justified by what happened."""
        if self._done:
            raise Violation(f"{self.asked.name} was answered whole, and then by an error: {error}")
        if not self._justified(error):
            raise Violation(f"{self.asked.name} was answered by an error that nothing justifies: {error!r}")

    def _justified(self, error: SynfireError) -> bool:
        asked, now_s = self.asked, self._loop.time()
        if isinstance(error, DeadlineExceeded):
            late_s = now_s - self._deadline_s
            return asked.timeout_s is not None and -1e-9 <= late_s <= _PROMPT_S
        gone = asked.model not in self._facts.wanted or self._facts.removals(asked.model) > self._removals
        if gone or isinstance(error, UnknownName):
            return self._facts.removals(asked.model) > 0
        if type(error) is TemporaryError and self._facts.refused(asked.model, str(error), now_s):
            return True
        return self._session_lost(error)

    def _session_lost(self, error: SynfireError) -> bool:
        """Whether the gateway that kept the session has died since that began, and the error says what to do."""
        keeper = self._facts.keeper(self.asked.session)
        return (
            bool(self.asked.session) and self._facts.died(keeper, self._since_s - _PROMPT_S) and "begin" in str(error)
        )

    def _check_bits(self, part: Answer, where: str) -> None:
        signals = graph_of(self.asked.model).output_signals()
        first, end = part.first_step, part.first_step + part.steps
        if part.outputs.keys() != signals.keys():
            raise Violation(f"{where}: the outputs are {sorted(part.outputs)}, not {sorted(signals)}")
        for name, signal in signals.items():
            wanted = self._wanted[name]
            if signal.clock is Clock.RUNNING:
                wanted = wanted[end - 1]
            elif signal.timed:
                wanted = wanted[first:end].swapaxes(0, 1)
            if not _same(part.outputs[name], wanted):
                raise Violation(f"{where}: output {name!r} has wrong bits")


def _same(got: Any, wanted: Any) -> bool:
    return bool(
        got.dtype == wanted.dtype
        and got.shape == wanted.shape
        and got.tobytes() == np.ascontiguousarray(wanted).tobytes()
    )


def brief(message: object) -> str:
    """A message in a few words."""
    if isinstance(message, Frame):
        return f"frame {message.number} of {message.request} for {message.receiver}, epoch {message.epoch}"
    if isinstance(message, Batch):
        return ", ".join(map(brief, message.frames))
    words = [
        str(getattr(message, name)) for name in ("request", "model", "stage", "epoch", "text") if hasattr(message, name)
    ]
    return f"{type(message).__name__} {' '.join(words)}".rstrip()


def _stopped_wrongly(state: State, model: ModelView) -> str:
    """What is wrong about a model's being stopped: there would be room, if need be that of less important ones."""
    rooms = [state.room(each.name) for each in state.workers.values() if each.status == READY]
    below = sum(
        stage.memory_bytes * state.living(stage.worker)
        for each in state.models.values()
        if not each.failure and each.priority < model.priority
        for stage in each.plan.stages
    )
    leftover = sum(_at_most(each, stage) for each in state.models.values() for stage, _ in each.leftover)
    room = max(rooms, default=0) if state.severed else sum(rooms)  # whole on one, where workers do not reach each other
    if rooms and room + below - leftover >= sum(stage.memory_bytes for stage in model.plan.stages):
        return f"{model.name} is stopped ({model.failure}), with room for {rooms} and {below} stages of less important models"
    return ""


def _at_most(model: ModelView, stage: str) -> int:
    """What a stage takes, at most: it may have been split, and be in the plan no longer."""
    known = [each.memory_bytes for each in model.plan.stages if each.name == stage]
    return known[0] if known else len(SHAPES[model.name]) * STAGE_BYTES


def check_worker(worker: SimulatedWorker, memory: int = 0) -> None:
    """After every turn of a worker: nothing of an older epoch is at work in it, and what it holds is bounded."""
    held = (
        sum(memory_of(name, stage.graph.operators) for (name, _), stage in worker.core.stages.items()) if memory else 0
    )
    if held > memory * STAGE_BYTES:
        raise Violation(f"{worker.name} holds {held} stages, and has room for {memory}")
    for live in worker.core.requests.values():
        for visit in live.visits.values():
            if visit.first.epoch != visit.stage.host.epoch and not visit.first.alone:
                raise Violation(
                    f"{worker.name} works on {live.id} of epoch {visit.first.epoch} at stage {visit.stage.name}, which is "
                    f"in epoch {visit.stage.host.epoch}"
                )
            if any(len(waiting) > 2 * visit.stage.host.window for waiting in visit.inbox.values()):
                raise Violation(f"{worker.name} holds more frames of {live.id} than the window allows")


def at_rest(arranged: Arrangement) -> bool:
    """Whether everybody is there, and the controller has nothing left to do."""
    controller = arranged.controller
    state = controller.state
    idle = state.calm and not controller._running and not state.recoveries and not state.orders
    return idle and not arranged.unrest()


def unrest(arranged: Arrangement) -> str:
    """Why it is not at rest, in words."""
    controller = arranged.controller
    models = [
        f"{each.name} is wanted in epoch {each.epoch} and routed in {each.routed}{f' ({each.failure})' if each.failure else ''}"
        for each in controller.state.models.values()
        if not each.settled
    ]
    recoveries = [f"recovery {each.id} of {', '.join(each.models)} has no end" for each in controller.state.recoveries]
    orders = [f"order {each.id} to {each.kind} has no end" for each in controller.state.orders]
    running = (f"{action} is under way" for action in controller._running)
    return "; ".join(filter(None, [arranged.unrest(), *models, *recoveries, *orders, *running]))


def check_calm(arranged: Arrangement, network: Network, orphans: bool) -> None:
    """Nothing is asked and nothing fails any more: nobody holds anything of any request.

    There may be `orphans`, sessions whose gateway has died: workers keep them until they have been idle for long.
    """
    if not at_rest(arranged):
        raise Violation(f"the deployment is not at rest: {unrest(arranged)}")
    for worker in network.workers.values():
        if worker.alive:
            _check_empty(worker, orphans)
    _check_hosted(arranged, network)
    peers = [(name, each.peer) for name, each in arranged.workers.items()]
    for who, routes, _ in arranged.gateways:
        _check_routes(who, routes, arranged.controller.state)
        peers += routes.peers.items()
    for name, peer in peers:
        waiting = [*peer._inboxes, *peer._answers, *_asked(peer)]
        if waiting and peer.lost is None:
            raise Violation(f"somebody waits for {name}, and nothing will come: {waiting}")


def _check_routes(who: str, routes: Routes, state: State) -> None:
    """The gateway holds no call, knows the workers that are counted on, and sends every model's calls where they belong."""
    for name, route in routes.by_model.items():
        if route._inboxes or route._interrupted:
            raise Violation(f"the route of {name} in {who} holds calls, though nobody calls")
    models = {each.name: each.epoch for each in state.models.values() if not (each.stopped or each.sleeps)}
    routed = {name: route.epoch for name, route in routes.by_model.items()}
    if models.items() - routed.items() or routed.keys() - state.models.keys():
        raise Violation(f"the models are in the epochs {models}, the routes of {who} in {routed}")
    ready = {each.name for each in state.workers.values() if each.status == READY}
    if set(routes.peers) != ready:
        raise Violation(f"{who} is connected to {sorted(routes.peers)}, and {sorted(ready)} are there")


def _check_hosted(arranged: Arrangement, network: Network) -> None:
    """Every stage is where its model's plan says, in the epoch of the model, and nowhere else."""
    models = [each for each in arranged.controller.state.models.values() if not each.stopped]
    wanted = {(each.name, stage.name, stage.worker, each.epoch) for each in models for stage in each.placed}
    found = {
        (*key, worker.name, stage.host.epoch)
        for worker in network.workers.values()
        if worker.alive
        for key, stage in worker.core.stages.items()
    }
    if wanted != found:
        raise Violation(
            f"of the stages {sorted(wanted - found)} are missing and {sorted(found - wanted)} are left over"
        )


def _check_empty(worker: SimulatedWorker, orphans: bool) -> None:
    core = worker.core
    held = sum(
        array_bytes(arrays.values())
        for live in core.requests.values()
        for visit in live.visits.values()
        for queue in visit.inbox.values()
        for _, arrays in queue
    )
    if core.requests:
        raise Violation(f"{worker.name} still holds the requests {sorted(core.requests)}")
    if core.buffered_bytes or held or core.outbox:
        raise Violation(f"{worker.name} still buffers {core.buffered_bytes} bytes")
    if core.sessions and not orphans:
        raise Violation(f"{worker.name} still keeps {core.sessions} sessions")
    if any(stage.ready for stage in core.stages.values()):
        raise Violation(f"{worker.name} still has work, though nobody asks")


def check_stopped(loop: VirtualLoop, network: Network, lives: Sequence[Life]) -> None:
    """The deployment has stopped: no process is left, and no task but of those that were killed."""
    if network.living:
        raise Violation(f"the workers {network.living} outlive their deployment")
    if outliving := [life.name for life in lives if not life.over]:
        raise Violation(f"the processes {outliving} outlive their deployment")
    relics = {task for life in lives for task in life.relics}
    left = [task for task in asyncio.all_tasks(loop) if not task.done() and task not in relics]
    if left:
        raise Violation(f"the tasks {sorted(task.get_name() for task in left)} are left")


def _asked(peer: WorkerPeer) -> list[Any]:
    """The stages that the worker is asked to host or prepare."""
    return [build for build, answers in peer._builds.items() if answers]
