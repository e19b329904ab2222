"""A hosted stage: its program, its links, its sessions, and the visits of requests to it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
import numpy as np

from synfire.base.errors import Bug, UserError
from synfire.engines import ENGINES, Program
from synfire.engines.streaming import StreamingProgram
from synfire.graph import Graph
from synfire.ops import Array, Kind, Signal, State
from synfire.wire.messages import Arrival, Departure, Frame, Host, taken
from synfire.wire.stream import array_bytes

LOOKED_AT = 16
"""To count what is active in every job would cost a small stage some percent of its time; densities change slowly."""

_MAY_BE_SILENT = (Kind.SPIKE, Kind.COUNT, Kind.VALUE)
"""Of these a 0 says that nothing happens; an index or a byte of 0 is as good as another one."""


@dataclass
class LinkTally:
    """What went along one link out of a stage, and the time that the worker's thread took to encode and send it."""

    frames: int = 0
    encoded_bytes: int = 0
    array_bytes: int = 0
    send_s: float = 0.0


@dataclass
class Tally:
    """What a stage did."""

    jobs: int = 0
    samples: int = 0
    steps: int = 0
    busy_s: float = 0.0
    failures: int = 0
    spikes: int = 0
    places: int = 0
    active: int = 0
    arrived: int = 0

    def look(self, stage: Stage, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        """Count what is active in what came for a job, and the spikes among what it gave, in the first of every `LOOKED_AT` jobs."""
        if self.jobs % LOOKED_AT != 1:
            return
        for name, array in inputs.items():
            signal = stage.inputs[name]
            if signal.kind in _MAY_BE_SILENT and -1 not in signal.shape:
                self.active += int(np.count_nonzero(array))
                self.arrived += array.size
        for name, array in outputs.items():
            if stage.outputs[name].kind is Kind.SPIKE:
                self.spikes += int(np.count_nonzero(array))
                self.places += array.size


class Block(NamedTuple):
    """Which time steps a frame, or a job, covers."""

    number: int
    first_step: int
    steps: int
    last: bool


@dataclass
class SessionSlot:
    """A session at a stage: the state that its last call left, with its checksum, and its calls in the order in which they came."""

    queue: deque[Visit] = field(default_factory=deque)
    state: State | None = None
    batch: int = 0
    used_s: float = 0.0
    checksum: int | None = None

    @property
    def rests(self) -> bool:
        """Whether the state waits for the next call to begin."""
        return bool(self.state) and not (self.queue and self.queue[0].state is not None)


@dataclass(eq=False)
class Visit:
    """One request at one stage: the frames that wait, the state, and where it stands. A state at rest has a `checksum`; one
    that is as the program makes it is `fresh`.

    `at_end` is called when the visit ends, however it does.
    """

    request: LiveRequest
    stage: Stage
    first: Frame
    arrived_s: float
    senders: tuple[str, ...]
    timed_senders: tuple[str, ...]
    external: bool = False
    inbox: dict[str, deque[tuple[Frame, Mapping[str, Array]]]] = field(init=False)
    expected: dict[str, int] = field(init=False)
    complete: set[str] = field(default_factory=set)
    batch: int = 0
    number: int = 0
    state: State | None = None
    checksum: int | None = None
    fresh: bool = False
    busy: bool = False
    dead: bool = False
    at_end: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.inbox = {sender: deque() for sender in self.senders}
        self.expected = dict.fromkeys(self.senders, 0)

    @property
    def session(self) -> SessionSlot | None:
        """The slot of the session that the request belongs to."""
        return self.stage.sessions.get(self.first.session) if self.first.session else None

    def block(self) -> Block | None:
        """The block that can be computed now: None while a frame of it, or the session's turn, is awaited.

        Raises `Bug` when the frames that meet here cover different steps.
        """
        if self.busy or self.dead or not self._has_turn():
            return None
        heads = []
        for sender in self.senders if self.number == 0 else self.timed_senders:
            if not self.inbox[sender]:
                return None
            heads.append(self.inbox[sender][0][0])
        if self.stage.streams:
            return Block(0, 0, 0, False)
        if self.stage.self_paced:
            return self._own_block()
        timed = [head for head in heads if head.sender in self.timed_senders]
        if not timed:
            return Block(0, 0, 0, True)
        one = timed[0]
        for other in timed[1:]:
            if (other.first_step, other.steps, other.last) != (one.first_step, one.steps, one.last):
                raise Bug(
                    f"frame {one.number} of request {self.request.id} covers steps {one.first_step}+{one.steps} from "
                    f"{one.sender!r} but {other.first_step}+{other.steps} from {other.sender!r}; frames must agree"
                )
        return Block(self.number, one.first_step, one.steps, one.last)

    @property
    def waiting_bytes(self) -> int:
        """How much the arrays take that wait for their block."""
        total = 0
        for queue in self.inbox.values():
            for _, arrays in queue:
                total += array_bytes(arrays.values())
        return total

    def put(self, frame: Frame, arrays: Mapping[str, Array]) -> None:
        """Let a frame wait for its block. Raises `UserError` for arrays of another batch than the request's."""
        for name, array in arrays.items():
            batch = array.shape[1 if self.stage.inputs[name].timed else 0]
            if self.batch and batch != self.batch:
                raise UserError(
                    f"request {frame.request} has a batch of {self.batch} at stage {self.stage.name}, but {name!r} has "
                    f"{batch}; give all inputs the same batch"
                )
            self.batch = batch
        self.inbox[frame.sender].append((frame, arrays))
        self.expected[frame.sender] += 1
        if frame.last:
            self.complete.add(frame.sender)

    def take(self) -> dict[str, Array]:
        """Remove the frames of the next block from the inbox and return their arrays by signal name."""
        arrays: dict[str, Array] = {}
        for queue in self.inbox.values():
            if queue and queue[0][0].number == self.number:
                arrays.update(queue.popleft()[1])
        return arrays

    def end(self) -> None:
        """Let go of the frames that wait, and take no more part in anything."""
        self.dead = True
        for queue in self.inbox.values():
            queue.clear()
        self.at_end()

    def _has_turn(self) -> bool:
        slot = self.session
        return slot is None or slot.queue[0] is self

    def _own_block(self) -> Block | None:
        if self.number >= self.request.advanced + self.stage.host.window and not self.first.alone:
            return None
        total, size = self.stage.total_steps, self.first.pace or self.stage.host.frame_steps
        first = self.number * size
        return Block(self.number, first, min(size, total - first), first + size >= total)


@dataclass(eq=False)
class LiveRequest:
    """A request that has visits at this worker. `turn` is its place in the order of arrival."""

    id: str
    origin: str
    turn: int
    used_s: float
    advanced: int = 0
    visits: dict[tuple[str, str], Visit] = field(default_factory=dict)

    def leads_to(self, address: str) -> bool:
        """Whether frames of it have still to go to the worker at `address`."""
        return any(
            departure.address == address
            for visit in self.visits.values()
            if not visit.first.alone
            for departure in visit.stage.departures(visit.first.lane)
        )

    def awaits(self, stages: set[tuple[str, str]]) -> bool:
        """Whether frames of it have still to come from one of the stages (model, stage)."""
        return any(
            (model, sender) in stages and sender not in visit.complete
            for (model, _), visit in self.visits.items()
            for sender in visit.senders
        )


class Stage:
    """What `Host` asked for, built. `program` is None where a foreign service computes it. `depth` grows downstream. One that
    `streams` gives a request's time steps one by one, as many as there turn out to be."""

    def __init__(self, host: Host, graph: Graph, program: Program | None, depth: int) -> None:
        self.host = host
        self.graph = graph
        self.program = program
        self.depth = depth
        self.key = (host.model, host.stage)
        self.inputs: Mapping[str, Signal] = graph.inputs
        self.outputs: Mapping[str, Signal] = graph.output_signals()
        self._listen()
        self.self_paced = not self.timed_senders and any(signal.timed for signal in self.outputs.values())
        self.total_steps = host.steps or graph.steps or 0
        self.untimed = any(not signal.timed for signal in self.inputs.values())
        self.streams = isinstance(program, StreamingProgram)
        ragged = any(-1 in signal.shape for signal in self.outputs.values())
        self.single = program is None or self.streams or ragged or not program.joins
        self.parameter_bytes = sum(graph.operator(name).parameter_bytes for name in graph)
        self.sessions: dict[str, SessionSlot] = {}
        self.ready: dict[Visit, Block] = {}
        self.tally = Tally()
        self.links: dict[str, LinkTally] = {each.receiver: LinkTally() for each in host.departures}
        self.checkpoints = LinkTally()
        self._check()

    @property
    def name(self) -> str:
        return f"{self.host.model}.{self.host.stage}"

    @property
    def maker(self) -> str:
        """Who makes its checkpoints: its engine, with the version of its states' layout, and its content digest."""
        return f"{self.host.engine} v{ENGINES[self.host.engine].version} {self.host.digest}"

    def relink(self, epoch: int, arrivals: tuple[Arrival, ...], departures: tuple[Departure, ...]) -> None:
        """Let the links into and out of the stage be others from `epoch` on."""
        self.host = msgspec.structs.replace(self.host, epoch=epoch, arrivals=arrivals, departures=departures)
        self._listen()

    def departures(self, lane: tuple[int, ...]) -> tuple[Departure, ...]:
        """The links out of it that a request of the lane takes."""
        if not self._forks:
            return self.host.departures
        return tuple(each for each in self.host.departures if taken(each, lane))

    def awaited(self, lane: tuple[int, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Who sends it frames of a request of the lane, and who of these sends a signal on the step clock."""
        if not self._meets:
            return self.senders, self.timed_senders
        senders = tuple(each for each in self.senders if taken(self.arrivals[each], lane))
        return senders, tuple(each for each in senders if each in self.timed_senders)

    def timed(self, sender: str) -> bool:
        """Whether `sender` sends a signal on the step clock."""
        return any(self.inputs[source].timed for source in self.arrivals[sender].sources)

    def leaving(self, departure: Departure, first: bool) -> tuple[str, ...]:
        """The sources that travel along `departure` with the first frame of a request, or with a later one."""
        return departure.sources if first else tuple(s for s in departure.sources if self.outputs[s].timed)

    def _listen(self) -> None:
        """Expect frames from where the stage's links begin."""
        self.arrivals: dict[str, Arrival] = {each.sender: each for each in self.host.arrivals}
        self.senders = tuple(self.arrivals)
        self.timed_senders = tuple(sender for sender in self.senders if self.timed(sender))
        self._meets = any(each.place >= 0 for each in self.host.arrivals)
        self._forks = any(each.place >= 0 for each in self.host.departures)

    def _check(self) -> None:
        arriving = sorted(source for each in self.awaited(())[0] for source in self.arrivals[each].sources)
        if arriving != sorted(self.inputs):
            raise UserError(f"stage {self.name}: signals {arriving} arrive, but its graph takes {sorted(self.inputs)}")
        leaving = {source for each in self.host.departures for source in each.sources}
        if not leaving <= set(self.outputs):
            raise UserError(
                f"stage {self.name}: signals {sorted(leaving - set(self.outputs))} should leave, but its graph gives "
                f"{sorted(self.outputs)}"
            )
        if self.host.frame_steps < 1 or self.host.window < 1:
            raise UserError(f"stage {self.name}: frame_steps and window must be 1 or more")
        if self.self_paced and not self.total_steps and not self.streams:
            raise UserError(f"stage {self.name} makes its own time steps, but no encoder in it says how many")
