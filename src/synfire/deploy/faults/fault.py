"""What a fault is: a name, what it stands for, and how it is injected."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import ClassVar, Literal

import msgspec

from synfire.base.errors import UnknownName, UserError
from synfire.base.registry import Registry
from synfire.deploy.faults.grip import Process


class Act(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that was done: what, to whom, and when, in seconds since 1970. What is no process has no `pid`."""

    did: str
    target: str
    at_s: float
    pid: int | None = None

    @classmethod
    def now(cls, did: str, target: str, pid: int | None = None) -> Act:
        return cls(did, target, time.time(), pid)


Tell = Callable[[Act], None]
"""Told of each act as it is done."""


@dataclass(frozen=True)
class Scene:
    """The deployment that a fault is injected into: its gateway and workers, as its record tells."""

    workers: Mapping[str, Process] = field(default_factory=dict)
    gateway: Process | None = None

    def worker(self, name: str) -> Process:
        """A worker that lives. Raises `UnknownName` with those that do."""
        living = {each.name: each for each in self.workers.values() if each.alive}
        if name not in living:
            raise UnknownName.among("running worker", name, living)
        return living[name]


@dataclass(frozen=True)
class Options:
    """How a fault is injected; `None` leaves it to the kind. Raises `UserError` for what cannot be."""

    for_s: float | None = None
    """How long it lasts, in seconds."""
    share: float | None = None
    """Which share of the time a slowed process still runs, above 0 and below 1."""

    def __post_init__(self) -> None:
        if self.for_s is not None and not (math.isfinite(self.for_s) and self.for_s > 0):
            raise UserError(f"a fault cannot last {self.for_s} s; give a number of seconds above 0")
        if self.share is not None and not 0 < self.share < 1:
            raise UserError(f"a process cannot run for {self.share} of the time; give a share above 0 and below 1")

    @property
    def given(self) -> tuple[str, ...]:
        """The names of those that are set."""
        return tuple(each.name for each in fields(self) if getattr(self, each.name) is not None)


class Fault(ABC):
    """A kind of fault; a family of them is one file in `synfire.deploy.faults`, which adds them to `FAULTS`."""

    name: ClassVar[str]
    about: ClassVar[str]
    """What is done, in a line."""
    emulates: ClassVar[str]
    """Which failure it stands for, and how near it comes."""
    target: ClassVar[str] = ""
    """What TARGET names; empty where there is nothing to choose."""
    takes: ClassVar[tuple[str, ...]] = ()
    """The `Options` that have an effect."""
    on: ClassVar[Literal["deployment", "home"]] = "deployment"
    """What it is done to: a running deployment, or what is kept under SYNFIRE_HOME."""

    @abstractmethod
    def inject(self, target: str, scene: Scene, options: Options, tell: Tell) -> None:
        """Do it, and return when it is over or needs nobody any more. Whatever is at fault is found before anything is done.

        Raises `UnknownName` for another target, `UserError` where it cannot be done here.
        """


FAULTS: Registry[Fault] = Registry("fault", "synfire.deploy.faults", "synfire.faults")


def inject(kind: str, target: str, scene: Scene, options: Options, tell: Tell) -> None:
    """Inject the fault of that kind.

    Raises `UnknownName` for another kind, `UserError` for a target or an option that the kind has no use for.
    """
    fault = FAULTS[kind]
    if bool(target) != bool(fault.target):
        raise UserError(
            f"{kind} needs a target: {fault.target}"
            if fault.target
            else f"{kind} takes no target; leave out {target!r}"
        )
    vain = [name for name in options.given if name not in fault.takes]
    if vain:
        able = [name for name in FAULTS if vain[0] in FAULTS[name].takes]
        raise UserError(f"{vain[0]} has no effect on {kind}, so leave it out; it is for {', '.join(able)}")
    fault.inject(target, scene, options, tell)
