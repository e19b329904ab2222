"""What a controller knows: workers, models, recoveries. Frozen data; `apply` makes the next state of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from synfire.plan import Plan

STARTING, READY, GONE = "starting", "ready", "gone"

STARTS = 3
"""How many workers in a row may fail to start before that is given up."""


@dataclass(frozen=True)
class WorkerView:
    """A worker. `kind` is its device class; workers of one `group` share a host, and so a fate.

    `prepared` are the stages (model, stage) whose programs it has built beforehand; `refused` those that it would not host.
    """

    name: str
    kind: str = "cpu"
    group: str = ""
    status: str = READY
    prepared: frozenset[tuple[str, str]] = frozenset()
    refused: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True)
class ModelView:
    """A served model: the plan that is wanted, and how far the running things follow it.

    `hosted` says for each stage which worker holds it and in which epoch; `suspended` and `routed` are the epochs for
    which the gateways hold calls, and along which they send them. `failure` says why no worker can host the model now:
    its calls are held while a new worker can still be started, and `told` says whether they are answered by that error.
    When room runs out, models of a lower `priority` go first.
    """

    plan: Plan
    epoch: int = 0
    priority: int = 0
    hosted: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    suspended: int = 0
    routed: int = 0
    failure: str = ""
    told: bool = False

    @property
    def name(self) -> str:
        return self.plan.model

    @property
    def settled(self) -> bool:
        """Whether calls travel along the plan that is wanted, or are refused as they should be."""
        return self.told if self.failure else self.routed == self.epoch

    @property
    def linked(self) -> bool:
        """Whether every stage is where the plan wants it, in this epoch."""
        return all(self.hosted.get(stage.name) == (stage.worker, self.epoch) for stage in self.plan.stages)


@dataclass(frozen=True)
class Recovery:
    """A loss that is being made good. Times are on the controller's clock, in seconds; a step that has not ended is absent.

    `failures` says, at the end, of each model that could not be placed again why.
    """

    id: int
    cause: str
    lost: str
    began_s: float
    detected_s: float
    models: tuple[str, ...]
    epochs: tuple[int, ...]
    spare: str = ""
    ended_s: Mapping[str, float] = field(default_factory=dict)
    replayed: int = 0
    restored: int = 0
    failures: tuple[str, ...] = ()


@dataclass(frozen=True)
class State:
    """Everything. `spares` is how many warm workers without a stage are wanted, and `prepare` whether these
    build every stage beforehand; `finished` awaits being written down.

    `starts` is how many more workers may fail to start, one after the other, before no more is started.
    """

    workers: Mapping[str, WorkerView] = field(default_factory=dict)
    models: Mapping[str, ModelView] = field(default_factory=dict)
    spares: int = 0
    prepare: bool = True
    born: int = 0
    starts: int = STARTS
    recoveries: tuple[Recovery, ...] = ()
    finished: tuple[Recovery, ...] = ()
    next_id: int = 1

    def load(self, worker: str) -> int:
        """How many stages are wanted on a worker."""
        return sum(stage.worker == worker for model in self.models.values() for stage in model.plan.stages)

    def idle(self) -> tuple[WorkerView, ...]:
        """The spares: ready workers on which no stage is wanted."""
        return tuple(each for each in self.workers.values() if each.status == READY and not self.load(each.name))

    @property
    def warm(self) -> bool:
        """Whether all is calm, written down, and as many spares as wanted are ready, with every stage built if they prepare."""
        models = self.models.values() if self.prepare else ()
        stages = {(model.name, stage.name) for model in models for stage in model.plan.stages}
        ready = [each for each in self.idle() if stages <= each.prepared | each.refused]
        return self.calm and not self.finished and len(ready) >= self.spares

    @property
    def calm(self) -> bool:
        """Whether nothing is being recovered or moved."""
        return all(model.settled for model in self.models.values())
