"""What happens in a simulation, as frozen data drawn from a seed: models, requests, faults. And smaller ones like it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from synfire.deploy.local import Settings
from synfire.graph import Graph
from synfire.plan import Plan
from synfire.testing.simulation.models import ENCODED_STEPS, SHAPES, STAGE_BYTES, model

PATIENT_S = 15.0
"""The deadline of a request that names none: several times what the longest recovery takes."""

FAULTS = ("kill", "kill several", "cut", "sever", "hang", "cut off", "accuse", "leave", "no start", "flip")
"""What may go wrong."""

ORDERS = ("drain", "rebalance", "upgrade")
"""Planned moves."""

SERVED = 0.4
"""The share of schedules in which controller and gateways are processes."""

FUSED = 0.4
"""The share of schedules in which neighbours on one worker are one stage."""

ROLES = ("kill controller", "kill gateway")
"""What may go wrong beside where controller and gateways are processes."""

KINDS = (*FAULTS, *ORDERS, "remove", "add", *ROLES)
"""What may go wrong, or be asked for, meanwhile."""

ACTIONS = ("Adopt", "Relink", "Prepare", "Resume", "Start", "Suspend", "Drop", "Retire")
"""Actions of the controller during which a fault may strike."""

EXITS = ("controller died", "controller began", "gateway died")
"""After what else a fault may strike, where these are processes."""


@dataclass(frozen=True)
class Fault:
    """Something that happens before the `at`-th step of the event loop, or at the `at`-th action called `on`.

    `target` picks whom it hits among those who are there then, by the remainder; a fault on an action hits the action's
    worker. `amount` is how long a hang lasts, or a severed way, in seconds, how many workers are hit, or in how many states a bit flips.
    """

    kind: str
    at: int
    target: int = 0
    on: str = ""
    amount: float = 0.0

    def __str__(self) -> str:
        when = f"at {self.on} number {self.at}" if self.on else f"at step {self.at}"
        return f"{self.kind} {self.target} {when}" + (f" ({self.amount:g})" if self.amount else "")


@dataclass(frozen=True)
class Asked:
    """A request. Its caller goes away after `leaves_after` parts, −1 for never, or after `leaves_s` seconds, 0 for never.

    The calls of a `session` follow one another, each `at_s` after the one before.
    """

    name: str
    model: str
    at_s: float
    inputs: int
    steps: int
    batch: int = 1
    part_steps: int = 0
    timeout_s: float | None = None
    leaves_after: int = -1
    leaves_s: float = 0.0
    session: str = ""

    def __str__(self) -> str:
        more = [f"{self.steps} steps"] + [f"in parts of {self.part_steps}"] * bool(self.part_steps)
        more += [f"within {self.timeout_s:.3f} s"] if self.timeout_s else []
        more += [f"until part {self.leaves_after}"] * (self.leaves_after >= 0)
        more += [f"for {self.leaves_s:.4f} s"] if self.leaves_s else []
        more += [f"of session {self.session}"] * bool(self.session)
        return f"{self.name} asks {self.model} at {self.at_s:.4f} s: {', '.join(more)}"


@dataclass(frozen=True)
class Schedule:
    """One simulation. `placed` gives each model's workers, stage by stage, and its time steps a frame; those of replicas are
    joined by `+`, and `/` says how many there may be, `~` after how many seconds without a call there is none.

    A worker holds at most `memory` stages, and at most `most` workers run at a time; 0 for no limit. `priorities` are those
    of the models, in the order of `placed`. It is `warm` when spares have built every stage before anybody calls. A `shuffled`
    loop has no order among what is ready at one time. Packets that are `encoded` travel as bytes.

    With `gateways`, so many of them and the controller are processes that may be killed; else all is one process. If `fused`,
    stages of one model that follow each other on one worker are one, until a part of it has to move.
    """

    seed: int
    placed: tuple[tuple[str, tuple[str, ...], int], ...]
    spares: int
    requests: tuple[Asked, ...]
    faults: tuple[Fault, ...]
    warm: bool = True
    shuffled: bool = False
    encoded: bool = False
    memory: int = 0
    most: int = 0
    priorities: tuple[int, ...] = ()
    gateways: int = 0
    fused: bool = False

    def __str__(self) -> str:
        models = [f"{name} on {', '.join(workers)} ({steps} steps a frame)" for name, workers, steps in self.placed]
        head = f"{'; '.join(models)}; {self.spares} spares{'' if self.warm else ', cold'}"
        head += f"; {self.memory} stages a worker" * bool(self.memory) + f"; {self.most} workers" * bool(self.most)
        head += f"; a controller and {self.gateways} gateways" * bool(self.gateways)
        head += "; fused" * self.fused
        head += f"; priorities {', '.join(map(str, self.priorities))}" * any(self.priorities)
        return "\n".join([head, *map(str, self.requests), *map(str, self.faults)])

    def models(self) -> dict[str, tuple[Graph, Plan]]:
        """The models with their plans, by name."""
        return {name: model(name, workers, steps, self.fused) for name, workers, steps in self.placed}

    def settings(self) -> Settings:
        """How the deployment is run."""
        names = [name for name, *_ in self.placed]
        return Settings(
            spares=self.spares,
            memory_bytes=self.memory * STAGE_BYTES or None,
            most_workers=self.most or None,
            priorities=dict(zip(names, self.priorities, strict=False)),
        )


def random_schedule(seed: int, kinds: tuple[str, ...] = KINDS) -> Schedule:
    """The schedule of a seed: up to two models, three workers, two spares, seven requests and four faults of these kinds; in
    every third room is short. In two of five the controller and up to two gateways are processes that are killed, too, if these
    are among the kinds."""
    rng = np.random.default_rng(seed)
    workers = int(rng.integers(1, 4))
    names = [str(name) for name in rng.permutation(list(SHAPES))[: int(rng.integers(1, 3))]]
    placed = tuple(
        (name, tuple(f"w{int(rng.integers(workers))}" for _ in SHAPES[name]), int(rng.integers(1, 4))) for name in names
    )
    requests = [_asked(rng, f"r{i}", names) for i in range(int(rng.integers(1, 6)))]
    if rng.random() < 0.4:
        requests += _session(rng, names)
    common = tuple(kind for kind in kinds if kind not in ROLES)
    faults = tuple(_fault(rng, common) for _ in range(int(rng.integers(1, 5))))
    schedule = Schedule(
        seed,
        placed,
        int(rng.integers(0, 3)),
        tuple(requests),
        faults,
        bool(rng.random() < 0.8),
        bool(rng.random() < 0.5),
        bool(rng.random() < 0.1),
    )
    schedule = _cramped(rng, schedule) if rng.random() < 0.35 else schedule
    schedule = _served(rng, schedule) if set(ROLES) <= set(kinds) and rng.random() < SERVED else schedule
    return replace(schedule, fused=bool(rng.random() < FUSED))


def _served(rng: np.random.Generator, schedule: Schedule) -> Schedule:
    """The schedule with a controller and gateways that are processes, of which some are killed."""
    faults = [_fault(rng, ROLES) for _ in range(int(rng.integers(1, 4)))]
    if rng.random() < 0.5:  # something more while the controller is away, or takes over
        kind = str(rng.choice(["kill", "kill", "hang", "leave", "kill several", "kill controller", "kill gateway"]))
        faults += [replace(_fault(rng, (kind,)), at=int(rng.integers(0, 2)), on=str(rng.choice(EXITS)))]
    return replace(schedule, faults=(*schedule.faults, *faults), gateways=int(rng.integers(1, 3)))


def _cramped(rng: np.random.Generator, schedule: Schedule) -> Schedule:
    """The schedule with little room beyond what it needs at first, and models of unlike priority."""
    held = Counter(worker for _, workers, _ in schedule.placed for worker in workers)
    spares = min(schedule.spares, int(rng.integers(0, 2)))
    worse = Fault("no start", 0, amount=float(rng.integers(3, 8))), _fault(rng, ("kill",))
    return replace(
        schedule,
        faults=(*worse, *schedule.faults) if rng.random() < 0.7 else schedule.faults,
        spares=spares,
        memory=max(held.values()) + int(rng.integers(0, 2)),
        most=len(held) + spares + int(rng.integers(0, 2)) if rng.random() < 0.8 else 0,
        priorities=tuple(int(each) for each in rng.permutation(3)[: len(schedule.placed)]),
    )


def smaller(schedule: Schedule) -> Iterator[Schedule]:
    """Schedules like this one with something left out: the ones with most left out first."""
    for what in ("faults", "requests"):
        these = getattr(schedule, what)
        for half in {len(these) // 2, 1} - {0}:
            for start in range(0, len(these), half):
                yield _changed(schedule, what, (*these[:start], *these[start + half :]))
    if schedule.spares:
        yield replace(schedule, spares=schedule.spares - 1)
    for what in ("faults", "requests"):
        these = getattr(schedule, what)
        for place, each in enumerate(these):
            for less in _less(each):
                yield _changed(schedule, what, (*these[:place], less, *these[place + 1 :]))
    if schedule.gateways > 1:
        yield replace(schedule, gateways=1)
    for setting in ("fused", "shuffled", "encoded", "memory", "most"):
        if getattr(schedule, setting):
            yield _changed(schedule, setting, 0)
    if len(schedule.placed) > 1:
        for name, *_ in schedule.placed:
            kept = tuple(each for each in schedule.placed if each[0] != name)
            asked = tuple(each for each in schedule.requests if each.model != name)
            yield replace(schedule, placed=kept, requests=asked, priorities=())


def _less(each: Fault | Asked) -> Iterator[Fault | Asked]:
    """The same sooner, or shorter."""
    if isinstance(each, Fault) and each.at:
        yield replace(each, at=each.at // 2)
    if isinstance(each, Asked) and each.steps > 1 and each.model != "encoded":
        yield replace(each, steps=each.steps // 2)


def _changed(schedule: Schedule, what: str, value: object) -> Schedule:
    changes: Any = {what: value}
    return replace(schedule, **changes)


def _asked(rng: np.random.Generator, name: str, models: list[str]) -> Asked:
    model, kind = models[int(rng.integers(len(models)))], rng.random()
    tight = kind < 0.2
    return Asked(
        name,
        model,
        float(rng.choice([0.0, 0.01, 0.05, 0.5]) * rng.random()),
        int(rng.integers(6)),
        _steps(rng, model),
        int(rng.integers(1, 3)),
        int(rng.integers(0, 3)),
        _some_time_s(rng) if tight else None,
        int(rng.integers(0, 4)) if 0.2 <= kind < 0.3 else -1,
        _some_time_s(rng) if 0.3 <= kind < 0.4 else 0.0,
    )


def _session(rng: np.random.Generator, models: list[str]) -> list[Asked]:
    first = _asked(rng, "s0", models)
    count = int(rng.integers(2, 5) if rng.random() < 0.8 else rng.integers(9, 14))
    calls = [replace(_asked(rng, f"s{i}", [first.model]), batch=first.batch, session="s") for i in range(count)]
    return [
        each if rng.random() < 0.1 else replace(each, timeout_s=None, leaves_after=-1, leaves_s=0.0) for each in calls
    ]


def _some_time_s(rng: np.random.Generator) -> float:
    """From a few jobs to a few starts of workers, in seconds."""
    return float(np.exp(rng.uniform(np.log(0.003), np.log(2))))


def _steps(rng: np.random.Generator, model: str) -> int:
    if model == "encoded":
        return ENCODED_STEPS
    return int(rng.integers(20, 40)) if rng.random() < 0.1 else int(rng.integers(1, 10))


def _fault(rng: np.random.Generator, kinds: tuple[str, ...]) -> Fault:
    weights = np.array([_WEIGHTS[kind] for kind in kinds])
    kind = kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))]
    amount = {
        "sever": float(rng.uniform(0.1, 3.0)),
        "hang": float(rng.uniform(0.01, 0.6)),
        "cut off": float(rng.uniform(0.0, 0.1)),
        "accuse": float(rng.uniform(0.0, 0.1)),
        "kill several": float(rng.integers(2, 5)),
        "no start": float(rng.integers(1, 5)),
        "flip": float(rng.integers(1, 5)),
    }.get(kind, 0.0)
    target = int(rng.integers(12))
    if rng.random() < 0.35:
        return Fault(kind, int(rng.integers(0, 4)), target, ACTIONS[int(rng.integers(len(ACTIONS)))], amount)
    return Fault(kind, int(np.exp(rng.uniform(0, np.log(1500)))), target, "", amount)


_WEIGHTS = {
    "kill": 4.0,
    "kill several": 1.0,
    "cut": 2.0,
    "sever": 1.5,
    "hang": 1.0,
    "cut off": 1.5,
    "accuse": 1.0,
    "leave": 1.5,
    "no start": 1.0,
    "flip": 2.0,
    "drain": 1.0,
    "rebalance": 0.7,
    "upgrade": 0.4,
    "remove": 0.5,
    "add": 0.5,
    "kill controller": 1.0,
    "kill gateway": 0.6,
}
