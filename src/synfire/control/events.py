"""What a controller hears, and what it has done: events go in, actions come out. Each action ends in one event."""

from __future__ import annotations

from dataclasses import dataclass, field

from synfire.plan import Plan


@dataclass(frozen=True)
class Event:
    """Something that happened. `at_s` is on the controller's clock, in seconds."""

    at_s: float


@dataclass(frozen=True)
class WorkerReady(Event):
    """A worker can be given stages."""

    name: str
    kind: str = "cpu"
    group: str = ""


@dataclass(frozen=True)
class WorkerLost(Event):
    """A worker is gone, or taken to be; `began_s` is when it last was seen alive, or was hit, as far as is known."""

    name: str
    cause: str
    began_s: float


@dataclass(frozen=True)
class ModelAdded(Event):
    """A model is served along `plan`, in epoch 0."""

    plan: Plan
    priority: int = 0


@dataclass(frozen=True)
class ModelRemoved(Event):
    model: str


@dataclass(frozen=True)
class Suspended(Event):
    """The gateways hold the model's calls."""

    model: str
    epoch: int


@dataclass(frozen=True)
class Adopted(Event):
    """A worker hosts a stage in an epoch, and has shown that it computes it right, which took the last `proof_s`."""

    model: str
    stage: str
    worker: str
    epoch: int
    proof_s: float = 0.0


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
    """Answer the model's calls by an error. Ends in `GivenUp`."""

    model: str
    reason: str


@dataclass(frozen=True)
class Start(Action):
    """Start a worker. Ends in `WorkerReady` or `WorkerLost`."""

    worker: str


@dataclass(frozen=True)
class Prepare(Action):
    """Have a spare build a stage beforehand. Ends in `PreparedOn` or `Refused`."""

    model: str
    stage: str
    worker: str


@dataclass(frozen=True)
class Keep(Action):
    """Write a finished recovery down. Ends in `Kept`."""

    id: int
