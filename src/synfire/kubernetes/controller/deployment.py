"""A namespace's deployment as the controller sees it: what it serves, who its workers are, and what can be asked of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from synfire.wire.traffic import TrafficCount

State = Literal["waiting", "loading", "served", "degraded", "stopped", "failed", "asleep", "leaving"]


@dataclass(frozen=True)
class Hosted:
    """A stage, its operators, and the worker that hosts it; an empty one while it waits for one."""

    name: str
    worker: str
    operators: tuple[str, ...] = ()
    replica: str = ""
    """The model, or the copy of it, whose stage it is, as the worker knows it."""


@dataclass(frozen=True)
class ServedModel:
    """A model of the deployment: with what it was asked for, how it is, and why; and, in words, which of its stages run on another device than
    they were planned for."""

    name: str
    request: Mapping[str, Any]
    state: State
    reason: str = ""
    stages: tuple[Hosted, ...] = ()
    replicas: int = 0
    replicas_ready: int = 0
    profile: str = ""
    unlike: tuple[str, ...] = ()


@dataclass(frozen=True)
class ServedChain:
    """A chain of the deployment: what it was asked for, whether calls are answered, and why not. One that has `failed` does not fit the models
    that it calls."""

    name: str
    chain: Mapping[str, Any]
    ready: bool = False
    reason: str = ""
    failed: bool = False


@dataclass(frozen=True)
class JoinedWorker:
    """A worker: whether it has joined and answers, and where it answers itself."""

    name: str
    ready: bool = False
    url: str = ""
    role: str = ""


@dataclass(frozen=True)
class Recovered:
    """A failure that the deployment has on record."""

    at_s: float
    cause: str
    outcome: str
    models: tuple[str, ...]
    duration_s: float


@dataclass(frozen=True)
class Deployed:
    """All of it, at one moment."""

    models: Mapping[str, ServedModel] = field(default_factory=dict)
    chains: Mapping[str, ServedChain] = field(default_factory=dict)
    workers: Mapping[str, JoinedWorker] = field(default_factory=dict)
    recoveries: tuple[Recovered, ...] = ()
    traffic: Mapping[str, TrafficCount] = field(default_factory=dict)
    """The names that answer by a rule, with what their sides did."""

    told: bool = True
    """Whether it was said that all models were asked for."""

    vacancies: Mapping[str, int] = field(default_factory=dict)
    """How many places no worker fills, by device class."""

    @cached_property
    def hosted(self) -> Mapping[str, tuple[str, ...]]:
        """What each worker hosts: stages, with the models that they are of."""
        found: dict[str, list[str]] = {}
        for model in self.models.values():
            for stage in (each for each in model.stages if each.worker):
                found.setdefault(stage.worker, []).append(f"{stage.replica or model.name}.{stage.name}")
        return {worker: tuple(sorted(each)) for worker, each in found.items()}


@dataclass(frozen=True)
class Load:
    """Have a model served as `request` says; again with the same words it changes nothing."""

    model: str
    request: Mapping[str, Any]


@dataclass(frozen=True)
class Unload:
    """Have a model served no longer."""

    model: str


@dataclass(frozen=True)
class PutChain:
    """Have a chain served."""

    chain: str
    content: Mapping[str, Any]


@dataclass(frozen=True)
class DropChain:
    """Have a chain served no longer."""

    chain: str


@dataclass(frozen=True)
class Steer:
    """Have a name answer by a rule."""

    name: str
    rule: Mapping[str, Any]


@dataclass(frozen=True)
class ClearTraffic:
    """Have a name answer by no rule any more."""

    name: str


@dataclass(frozen=True)
class Drain:
    """Have a worker's stages move elsewhere."""

    worker: str


@dataclass(frozen=True)
class Told:
    """Say that all models were asked for, these among them: another deployment than the one that was seen knows none yet."""

    models: tuple[str, ...] = ()


Call = Told | Load | Unload | PutChain | DropChain | Steer | ClearTraffic | Drain
