"""What a controller knows: workers, models, recoveries, orders. Frozen data; `apply` makes the next state of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from synfire.control.order import Order, Relocation
from synfire.devices.cores import NO_CORES, Cores, together
from synfire.plan import Plan
from synfire.plan.plan import Stage

STARTING, READY, RETIRING = "starting", "ready", "retiring"

PROCESSOR = "cpu"
"""The kind of a worker without any other device, and the engine that runs every stage on any worker."""

STARTS = 3
"""How many workers in a row may fail to start, or refuse a stage, before that is given up."""

HOST, SPARE = "host", "spare"
"""What a worker that has joined is meant for: to host stages from the start, or to take over from who does."""

ROLES = (HOST, SPARE)


@dataclass(frozen=True)
class WorkerView:
    """A worker. `kind` is its device class; workers of one `group` share a host, and so a fate: when one is lost the others are
    doubtful from then on, `doubted_s`, until one of them is there again.

    It may hold `memory_bytes`, without a limit when that is None, and use so many `cores` of its device, where these are counted. One that is `leaving` is given nothing that another one
    can take. `prepared` are the stages (model, stage) whose programs it has built beforehand; `refused` those that it
    would not host, each for all of its replicas. One that has `joined` was started by others on another machine: its device is none of ours, and it leaves when
    these want it to, or somebody drains it; its `role` says whether plans may begin on it, or only what is lost elsewhere goes there. `stays` says
    why no other can be begun beside it, in words; empty where one can.
    """

    name: str
    kind: str = PROCESSOR
    group: str = ""
    status: str = READY
    memory_bytes: int | None = None
    cores: Cores | None = None
    leaving: bool = False
    doubted_s: float | None = None
    prepared: frozenset[tuple[str, str]] = frozenset()
    refused: frozenset[tuple[str, str]] = frozenset()
    joined: bool = False
    role: str = HOST
    stays: str = ""

    @property
    def doubtful(self) -> bool:
        """Whether its host may be lost."""
        return self.doubted_s is not None


@dataclass(frozen=True)
class ModelView:
    """A served model: the plan that is wanted, and how far the running things follow it.

    `hosted` says which worker holds which stage, and in which epoch; `adopting` where one is being hosted, for which epoch.
    `suspended` and `routed` are the epochs for which the gateways hold calls, and along which they send them.

    `failure` says why no worker can host the model now. While it `waits` for a worker of that kind to be started its calls
    are held; else it is stopped: they are answered by that error, which has been `told` then, and workers drop its stages.
    Of two models for which there is no room, the one of the lower `priority` is stopped.

    `substituted` are the stages that an unlike engine runs because no worker with the right device is left, each with the
    engine that it was planned for.

    One that was loaded `on_demand` goes when nobody calls it: spares build nothing of it beforehand.

    One that is `fresh` has never been served: its plan names places, each of which is to be another worker that has joined.

    One that is `asleep` is on no worker: its calls are held until somebody wakes it. Where only some of its stages are `resting` the others
    stay where they are. Stages that are `waking` have still to be given a worker.

    `replicas` are how many of each of its stages are to be, by what these have to do; the plan says between which numbers.
    """

    plan: Plan
    epoch: int = 0
    priority: int = 0
    hosted: Mapping[tuple[str, str], int] = field(default_factory=dict)
    adopting: Mapping[tuple[str, str], int] = field(default_factory=dict)
    suspended: int = 0
    routed: int = 0
    failure: str = ""
    waits: str = ""
    told: bool = False
    substituted: Mapping[str, str] = field(default_factory=dict)
    on_demand: bool = False
    fresh: bool = False
    asleep: bool = False
    resting: frozenset[str] = frozenset()
    waking: frozenset[str] = frozenset()
    replicas: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def scaling(self) -> tuple[Stage, ...]:
        """The stages of which replicas come and go, each once: those that may have several, and those that had and are to have one."""
        mine = (stage for stage in self.plan.stages if not stage.replica_of)
        return tuple(stage for stage in mine if stage.most > 1 or stage.name in self.replicas)

    @cached_property
    def placed(self) -> tuple[Stage, ...]:
        """The stages that have a place in the plan: all but those that sleep, or are being woken."""
        away = self.resting | self.waking
        return () if self.asleep else tuple(stage for stage in self.plan.stages if stage.original not in away)

    @cached_property
    def sleepers(self) -> tuple[Stage, ...]:
        """The stages that sleep when nobody calls, each once."""
        return tuple(stage for stage in self.plan.stages if stage.may_sleep and not stage.replica_of)

    @property
    def sleeps(self) -> bool:
        """Whether its calls are held because something of it sleeps."""
        return self.asleep or bool(self.resting)

    @property
    def name(self) -> str:
        return self.plan.model

    @property
    def stopped(self) -> bool:
        """Whether it is served no longer, until there is room again."""
        return bool(self.failure) and (self.told or not self.waits)

    @property
    def settled(self) -> bool:
        """Whether calls travel along the plan that is wanted, or are refused as they should be."""
        if self.failure and not self.asleep:
            return self.told
        return self.suspended == self.epoch and self.linked if self.sleeps else self.routed == self.epoch

    @property
    def linked(self) -> bool:
        """Whether every stage that has a place is where the plan wants it, in this epoch."""
        return all(self.holds(stage) for stage in self.placed)

    def holds(self, stage: Stage) -> bool:
        """Whether the stage is where the plan wants it, in this epoch."""
        return self.hosted.get((stage.name, stage.worker)) == self.epoch

    @property
    def leftover(self) -> Iterator[tuple[str, str]]:
        """Stages, with their workers, that are of no use any more where they are: they run elsewhere, in parts, or not at all."""
        planned = {stage.name: stage for stage in self.placed}
        gone = set(self.gone)
        for name, worker in self.hosted:
            if (name, worker) in gone or (planned[name].worker != worker and self.holds(planned[name])):
                yield name, worker

    @property
    def gone(self) -> Iterator[tuple[str, str]]:
        """Of what is hosted, or being hosted, all that has no place in the plan: stages that were split, or sleep, and those of a stopped
        model."""
        planned = set() if self.stopped else {stage.name for stage in self.placed}
        yield from ((name, worker) for name, worker in (*self.hosted, *self.adopting) if name not in planned)


@dataclass(frozen=True)
class Substitution:
    """A stage that another engine runs than the planned one; `agreement` is the share of equal spikes between the two."""

    model: str
    stage: str
    planned: str
    engine: str
    agreement: float | None = None


@dataclass(frozen=True)
class Recovery:
    """A loss that is being made good, or a planned move. Times are on the controller's clock, in seconds; a step that has
    not ended is absent.

    `cause` says what happened (`exit`, `hang`, …, `return` of a stopped model, or the kind of an order), `lost` to which
    worker. `failures` says, at the end, of each model that could not be placed again why. `target` and `detail` say more of
    the cause, where more is known; `group` is the host that `lost` was on. What a worker mended itself has its steps in
    `spans`, each with its begin and end; no model is in another epoch for it.
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
    moved: tuple[Relocation, ...] = ()
    substitutions: tuple[Substitution, ...] = ()
    target: str = ""
    detail: str = ""
    group: str = ""
    spans: tuple[tuple[str, float, float], ...] = ()
    bytes_written: int = 0


@dataclass(frozen=True)
class State:
    """Everything. `spares` is how many warm workers without a stage are wanted, and `prepare` whether these
    build every stage beforehand; `finished` awaits being written down.

    `starts` is how many more workers may fail to start, one after the other, before no more is started. A worker that is
    started may hold `memory_bytes`, and use `cores` of its device, by kind; at most `most_workers` run at a time. `devices` are the kinds of hardware beside
    processors, each with how many of it no worker has: an engine of that name runs on no other kind of worker, and a worker
    of that kind can be started for each of them. Spares are of `spare_kind` where that can be had. `in_service` is on how
    many workers the plans put stages at first. `severed` are hosts, or workers, that do not reach each other, of which the first
    gives way, and since when that is known; see `synfire.control.reach`. Epochs from `first_epoch` on are this controller's.

    Since workers were begun for replicas of stages there may be `more` of them than are of use.

    Where nothing `begins` here all workers are begun by others, and join: what has no place waits for that, with its calls. Since a host has joined, at
    `joined_s`, or one has gone, at `deserted_s`, the stages may lie uneven; see `synfire.control.relief`.
    """

    workers: Mapping[str, WorkerView] = field(default_factory=dict)
    models: Mapping[str, ModelView] = field(default_factory=dict)
    spares: int = 0
    prepare: bool = True
    born: int = 0
    starts: int = STARTS
    memory_bytes: int | None = None
    cores: Mapping[str, Cores] = field(default_factory=dict)
    most_workers: int | None = None
    devices: Mapping[str, int] = field(default_factory=dict)
    spare_kind: str = PROCESSOR
    in_service: int = 0
    severed: Mapping[tuple[str, str], float] = field(default_factory=dict)
    orders: tuple[Order, ...] = ()
    recoveries: tuple[Recovery, ...] = ()
    finished: tuple[Recovery, ...] = ()
    next_id: int = 1
    first_epoch: int = 0
    begins: bool = True
    more: bool = False
    joined_s: float | None = None
    deserted_s: float | None = None

    def epoch_after(self, model: ModelView) -> int:
        """The model's next epoch: newer than its own, and than all that a controller before this one may have given."""
        return max(model.epoch + 1, self.first_epoch)

    def stages_on(self, worker: str) -> tuple[tuple[ModelView, Stage], ...]:
        """The stages that are wanted on a worker, with their models."""
        return tuple(self._work.get(worker, ()))

    @cached_property
    def _work(self) -> Mapping[str, list[tuple[ModelView, Stage]]]:
        """The stages that are wanted, with their models, by worker. Looked up for every worker when something is placed, so it is made once."""
        found: dict[str, list[tuple[ModelView, Stage]]] = {}
        for model in self.models.values():
            for stage in model.placed if self._counts(model) else ():
                found.setdefault(stage.worker, []).append((model, stage))
        return found

    @cached_property
    def working(self) -> frozenset[str]:
        """The workers that hold something of what is wanted on them."""
        return frozenset(
            stage.worker
            for model in self.models.values()
            for stage in model.placed
            if (stage.name, stage.worker) in model.hosted
        )

    @cached_property
    def encumbered(self) -> frozenset[str]:
        """The workers that hold, or are being given, what has no place any more."""
        return frozenset(home for model in self.models.values() for _, home in model.gone)

    def serving(self) -> frozenset[str]:
        """The workers on which stages are wanted."""
        return frozenset(self._work)

    def _counts(self, model: ModelView) -> bool:
        """Whether the model's stages are work for those that have them: not while it is stopped, or waits for workers that others begin."""
        return not model.stopped if self.begins else not (model.failure or model.fresh)

    @property
    def complement(self) -> int:
        """How many workers there are to be: as many as at first, or as serve now where these are more, and the spares. Those to which stages that
        sleep come back serve, too."""
        sleeping = (model for model in self.models.values() if model.resting)
        homes = {stage.worker for model in sleeping for stage in model.plan.stages if self.living(stage.worker)}
        return max(self.in_service, len(self.serving() | homes)) + self.spares

    def load(self, worker: str) -> int:
        """How many stages are wanted on a worker."""
        return len(self._work.get(worker, ()))

    def room(self, worker: str) -> float:
        """The bytes that a worker may still take: all but what is wanted there, or there still."""
        limit = self.workers[worker].memory_bytes
        return math.inf if limit is None else limit - self._held_bytes.get(worker, 0)

    def free_cores(self, worker: str) -> Cores | None:
        """The cores of its device that a worker may still use: all but those of what is wanted there, or there still; None where nobody counts
        them."""
        limit = self.workers[worker].cores
        return None if limit is None else limit - self._held_cores.get(worker, NO_CORES)

    def fits(self, worker: str, plan: Plan, stages: Iterable[Stage], engine: str = "") -> bool:
        """Whether a worker has room for these stages of a plan, beside all that is wanted there or there still; where an `engine` is named, to
        run them by that one."""
        wanted = tuple(stages)
        need = cores_on(self.workers[worker].kind, plan, wanted, engine)
        return sum(each.memory_bytes for each in wanted) <= self.room(worker) and need.fit(self.free_cores(worker))

    @cached_property
    def _held_bytes(self) -> Mapping[str, int]:
        """What each worker holds, or is to hold. What a stopped model still holds is dropped before anything is adopted in its place."""
        found: dict[str, int] = {}
        for _, stage, home in self._held():
            found[home] = found.get(home, 0) + stage.memory_bytes
        return found

    @cached_property
    def _held_cores(self) -> Mapping[str, Cores]:
        """What of its device each worker uses, or is to use."""
        found: dict[str, Cores] = {}
        for model, stage, home in self._held():
            if stage.cores is not None and home in self.workers:
                taken = cores_on(self.workers[home].kind, model.plan, (stage,))
                found[home] = found.get(home, NO_CORES) + taken
        return found

    def _held(self) -> Iterator[tuple[ModelView, Stage, str]]:
        """The stages that are wanted, or there still, each with every worker where it is so."""
        for model in self.models.values():
            if model.stopped:
                continue
            homes: dict[str, set[str]] = {each.name: {each.worker} for each in model.placed}
            for stage, home in (*model.hosted, *model.adopting):
                if stage in homes:
                    homes[stage].add(home)
            yield from ((model, each, home) for each in model.placed for home in homes[each.name])

    def runs(self, worker: WorkerView, engine: str) -> bool:
        """Whether the worker has the device of an engine."""
        return engine not in self.devices or worker.kind == engine

    def living(self, worker: str) -> bool:
        """Whether the worker is there and hosts stages."""
        return worker in self.workers and self.workers[worker].status == READY

    def startable(self, kind: str, need_bytes: int = 0, need: Cores = NO_CORES) -> bool:
        """Whether a worker of that kind, with that much room and that many cores of its device, can be started."""
        free = kind not in self.devices or self.devices[kind] > 0
        vacant = self.most_workers is None or len(self.workers) < self.most_workers
        roomy = need_bytes <= (self.memory_bytes or math.inf) and need.fit(self.cores.get(kind))
        return self.begins and bool(self.starts) and free and vacant and roomy

    def idle(self) -> tuple[WorkerView, ...]:
        """The spares: ready workers on which no stage is wanted."""
        return tuple(
            each
            for each in self.workers.values()
            if each.status == READY and not each.leaving and not self.load(each.name)
        )

    def coming(self) -> tuple[WorkerView, ...]:
        """The workers that are being started."""
        return tuple(each for each in self.workers.values() if each.status == STARTING)

    def unprepared(self, spare: WorkerView) -> Iterator[tuple[ModelView, Stage]]:
        """The stages that a spare has still to build beforehand: those of the highest priority, as many as it may hold. All replicas of one
        are the same."""
        left, cores = math.inf if spare.memory_bytes is None else spare.memory_bytes, spare.cores
        lasting = (model for model in self.by_priority() if not model.on_demand)
        stages = [(model, stage) for model in lasting for stage in model.placed if not stage.replica_of]
        for model, stage in stages if self.prepare else ():
            need = cores_on(spare.kind, model.plan, (stage,))
            if stage.memory_bytes <= left and need.fit(cores):
                left, cores = left - stage.memory_bytes, None if cores is None else cores - need
                if (model.name, stage.name) not in spare.prepared | spare.refused:
                    yield model, stage

    def engine_on(self, worker: WorkerView, model: ModelView, stage: Stage) -> str:
        """Which engine runs a stage on a worker: the plan's, or the processor's where the device for it is missing."""
        engine = model.plan.engine_of(stage)
        return engine if self.runs(worker, engine) else PROCESSOR

    def by_priority(self) -> list[ModelView]:
        """The models, the most important first."""
        return sorted(self.models.values(), key=lambda each: (-each.priority, each.name))

    def with_model(self, model: ModelView) -> State:
        return replace(self, models={**self.models, model.name: model})

    def with_worker(self, worker: WorkerView) -> State:
        return replace(self, workers={**self.workers, worker.name: worker})

    @property
    def warm(self) -> bool:
        """Whether all is calm, written down, and as many spares as wanted are ready, with every stage built if they prepare. Spares that
        others begin are not waited for."""
        ready = [each for each in self.idle() if not any(self.unprepared(each))]
        return self.calm and not self.finished and (len(ready) >= self.spares or not self.begins)

    @property
    def quiet(self) -> bool:
        """Whether all is calm, and no worker holds anything of no use: the moment for planned moves."""
        return self.calm and not any(any(model.leftover) for model in self.models.values())

    @property
    def calm(self) -> bool:
        """Whether nothing is being recovered or moved; nothing can be done for what waits for others."""
        return all(self.at_rest(model) for model in self.models.values())

    def at_rest(self, model: ModelView) -> bool:
        """Whether nothing is to be done for a model now: also where its calls are held until a worker joins, which nobody here begins."""
        waits = not self.begins and bool(model.waits) and model.suspended == model.epoch
        return model.settled or waits


def cores_on(kind: str, plan: Plan, stages: Iterable[Stage], engine: str = "") -> Cores:
    """What stages take of the device of a worker of that kind: those that it runs there, by the plan's engines or the one that is named."""
    return together(
        plan.need(each) for each in stages if kind != PROCESSOR and (engine or plan.engine_of(each)) == kind
    )
