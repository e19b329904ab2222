"""What a controller hears, and what it has done: events go in, actions come out. Each action ends in one event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from synfire.control.order import OrderKind
from synfire.devices import Cores
from synfire.plan import Plan
from synfire.plan.replicas import Range


@dataclass(frozen=True)
class Event:
    """Something that happened. `at_s` is on the controller's clock, in seconds."""

    at_s: float


@dataclass(frozen=True)
class WorkerReady(Event):
    """A worker can be given stages: with the device `kind`, of which it may use so many `cores`, and up to `memory_bytes` of them; without a
    limit where one is None. It may be
    `back` after it was taken to be lost, and have `joined` from another machine by itself, for a `role` there; `stays` says why no
    other can be begun beside it there, if that is so."""

    name: str
    kind: str = "cpu"
    group: str = ""
    memory_bytes: int | None = None
    back: bool = False
    joined: bool = False
    role: str = "host"
    stays: str = ""
    cores: Cores | None = None


@dataclass(frozen=True)
class Retry(Event):
    """Some time has passed: a worker may be started again, though none could be."""


@dataclass(frozen=True)
class WorkerLost(Event):
    """A worker is gone, or taken to be; `began_s` is when it last was seen alive, or was hit, as far as is known."""

    name: str
    cause: str
    began_s: float


@dataclass(frozen=True)
class Severed(Event):
    """The worker `by` cannot reach the worker `name`, though both live; it began to try at `began_s`."""

    name: str
    by: str
    began_s: float


@dataclass(frozen=True)
class DeviceLost(Event):
    """A worker's device is gone for good, and the worker lives on without it; `began_s` as in `WorkerLost`."""

    name: str
    cause: str
    began_s: float
    detail: str = ""


@dataclass(frozen=True)
class DeviceMended(Event):
    """A worker has made good a fault of the device, or the memory, under a stage, which stays where it is.

    `target` is what broke, `detail` what was done; `spans` are the steps, each with its begin and end, in seconds.
    """

    name: str
    model: str
    stage: str
    cause: str
    target: str
    detail: str
    began_s: float
    spans: tuple[tuple[str, float, float], ...]
    bytes_written: int = 0
    replayed: int = 0
    restored: int = 0


@dataclass(frozen=True)
class ModelAdded(Event):
    """A model is served along `plan`, in epoch 0; for now, where it was loaded `on_demand`. `substituted` are stages that an unlike
    engine runs from the start, each with the engine that it was planned for. One that is `fresh` is not hosted yet: it begins as soon as
    workers have joined for all places of its plan. `kinds` are the devices that it was planned for."""

    plan: Plan
    priority: int = 0
    on_demand: bool = False
    substituted: Mapping[str, str] = field(default_factory=dict)
    fresh: bool = False
    kinds: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ModelRemoved(Event):
    model: str


@dataclass(frozen=True)
class Ranked(Event):
    """A model has another priority from now on."""

    model: str
    priority: int


@dataclass(frozen=True)
class Slept(Event):
    """Nobody calls the model: it leaves its workers, and calls that come are held; or, where it is not `asleep`, it is wanted there again."""

    model: str
    asleep: bool = True


@dataclass(frozen=True)
class Rested(Event):
    """Nobody calls the model: these stages of it leave their workers, and calls that come are held; those that did so before, and are not among them
    any more, are wanted again."""

    model: str
    stages: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Pressed(Event):
    """A stage has so much to do that it is to have so many replicas, as far as its plan allows."""

    model: str
    stage: str
    replicas: int


@dataclass(frozen=True)
class Ranged(Event):
    """Somebody wants so many replicas of these stages of a model from now on, and of every other one a single one."""

    model: str
    ranges: Mapping[str, Range]


@dataclass(frozen=True)
class Dismissed(Event):
    """A worker was started for a model that is not there any more: it is one too many, if nothing else is on it."""

    name: str


@dataclass(frozen=True)
class EpochSeen(Event):
    """A gateway, or a worker, was told of this epoch, perhaps by another controller before this one."""

    model: str
    epoch: int


@dataclass(frozen=True)
class Suspended(Event):
    """The gateways hold the model's calls."""

    model: str
    epoch: int


@dataclass(frozen=True)
class Adopted(Event):
    """A worker hosts a stage in an epoch, and has shown that it computes it right, which took the last `proof_s`.

    `agreement` is the share of spikes in which its known answer equals that of the engine before, where that was another.
    """

    model: str
    stage: str
    worker: str
    epoch: int
    proof_s: float = 0.0
    agreement: float | None = None


@dataclass(frozen=True)
class Relinked(Event):
    """A worker's stages of the model, `stages`, are in an epoch."""

    model: str
    worker: str
    stages: tuple[str, ...]
    epoch: int


@dataclass(frozen=True)
class Resumed(Event):
    """The gateways send calls along the way of an epoch: `replayed` interrupted calls, `restored` sessions."""

    model: str
    epoch: int
    replayed: int = 0
    restored: int = 0


@dataclass(frozen=True)
class GivenUp(Event):
    """The gateways answer the model's calls by an error."""

    model: str
    reason: str


@dataclass(frozen=True)
class PreparedOn(Event):
    """A worker has built a stage beforehand."""

    model: str
    stage: str
    worker: str


@dataclass(frozen=True)
class Refused(Event):
    """A worker would not host, or prepare, a stage."""

    model: str
    stage: str
    worker: str
    reason: str


@dataclass(frozen=True)
class Kept(Event):
    """A finished recovery is written down."""

    id: int


@dataclass(frozen=True)
class Dropped(Event):
    """A worker has been told to hold these stages of the model no longer."""

    model: str
    worker: str
    stages: tuple[str, ...]


@dataclass(frozen=True)
class Ordered(Event):
    """Somebody asks for a planned move; a `drain` is of one `worker`."""

    id: str
    kind: OrderKind
    worker: str = ""


@dataclass(frozen=True)
class NotJoined(Event):
    """A fresh worker that was to be begun beside another one, by others, has not joined, for that reason."""

    name: str
    reason: str


@dataclass(frozen=True)
class Answered(Event):
    """Who gave an order knows what became of it."""

    id: str


@dataclass(frozen=True)
class Nothing(Event):
    """An action came to nothing, because what it was about is gone; another event tells that."""


class Action:
    """Something to do. Doing it twice does no harm."""


@dataclass(frozen=True)
class Suspend(Action):
    """Fence: hold the model's calls; from now on its older epochs are over. Ends in `Suspended`."""

    model: str
    epoch: int


@dataclass(frozen=True)
class Adopt(Action):
    """Have a worker host a stage. Ends in `Adopted` or `Refused`. That it was `prepared` meanwhile makes it no other action."""

    model: str
    stage: str
    worker: str
    epoch: int
    prepared: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Relink(Action):
    """Take the stages that a worker hosts already into the epoch, with their new links. Ends in `Relinked`."""

    model: str
    worker: str
    stages: tuple[str, ...]
    epoch: int


@dataclass(frozen=True)
class Resume(Action):
    """Restore sessions, let held calls go, and replay those that were interrupted. Ends in `Resumed`."""

    model: str
    epoch: int


@dataclass(frozen=True)
class GiveUp(Action):
    """Answer the model's calls by an error, which says why. Ends in `GivenUp`."""

    model: str
    reason: str


@dataclass(frozen=True)
class Start(Action):
    """Start a worker with a device of some kind. Ends in `WorkerReady` or `WorkerLost`. For an upgrade it is begun `anew`, with the code that is
    installed now; that makes it no other action."""

    worker: str
    kind: str = "cpu"
    anew: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Renew(Action):
    """Have a fresh worker, the `successor`, begun beside one that has joined, by those who have begun that one. Ends in `WorkerReady` or
    `NotJoined`."""

    worker: str
    successor: str


@dataclass(frozen=True)
class Prepare(Action):
    """Have a worker build a stage of these `operators` beforehand, for an engine; the plan may not have it yet. Ends in `PreparedOn`
    or `Refused`."""

    model: str
    stage: str
    worker: str
    engine: str = "cpu"
    operators: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class Drop(Action):
    """Have a worker hold these stages no longer, if they are of no use there when it is done. Ends in `Dropped`."""

    model: str
    worker: str
    stages: tuple[str, ...]


@dataclass(frozen=True)
class Retire(Action):
    """End a worker on which nothing is wanted any more. Ends in `WorkerLost`."""

    worker: str


@dataclass(frozen=True)
class Answer(Action):
    """Tell who gave an order what became of it. Ends in `Answered`."""

    id: str


@dataclass(frozen=True)
class Keep(Action):
    """Write a finished recovery down. Ends in `Kept`."""

    id: int
