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
    """The deployment that a fault is injected into: its workers, and its controller and gateways as `roles`, as its record tells.

    `deployment` is its id, `addresses` are where its workers take packets.
    """

    workers: Mapping[str, Process] = field(default_factory=dict)
    roles: Mapping[str, Process] = field(default_factory=dict)
    deployment: str = ""
    addresses: Mapping[str, str] = field(default_factory=dict)

    def role(self, noun: str, name: str = "") -> Process:
        """The controller, or the gateway of that name; without a name the only one of its kind.

        Raises `UnknownName` with those that there are, `UserError` where there are several.
        """
        found = {each.name: each for each in self.roles.values() if each.name.startswith(noun)}
        if not found:
            raise UserError(f"this deployment has no {noun} process of its own that could be killed")
        if not name and len(found) > 1:
            raise UserError(f"this deployment has {len(found)} {noun}s; name one of {', '.join(sorted(found))}")
        chosen = name or next(iter(found))
        if chosen not in found:
            raise UnknownName.among(noun, chosen, found)
        return found[chosen]

    def worker(self, name: str) -> Process:
        """A worker that lives. Raises `UnknownName` with those that do."""
        living = {each.name: each for each in self.workers.values() if each.alive}
        if name not in living:
            raise UnknownName.among("running worker", name, living)
        return living[name]


TYPED = {"for_s": "--for", "share": "--share", "delay_s": "--delay", "seed": "--seed", "stuck": "--stuck"}
"""How `Options` are called where users type them."""


@dataclass(frozen=True)
class Options:
    """How a fault is injected; `None` leaves it to the kind. Raises `UserError` for what cannot be."""

    for_s: float | None = None
    """How long it lasts, in seconds."""
    share: float | None = None
    """Which share of the time a slowed process still runs, above 0 and below 1."""
    delay_s: float | None = None
    """By how much packets are held back, in seconds."""
    seed: int | None = None
    """What is drawn by where the target leaves it open; another at each time where it is not set."""
    stuck: bool | None = None
    """Whether a bit is held for good, and not flipped once."""

    def __post_init__(self) -> None:
        if self.for_s is not None and not (math.isfinite(self.for_s) and self.for_s > 0):
            raise UserError(f"a fault cannot last {self.for_s} s; give a number of seconds above 0")
        if self.delay_s is not None and not (math.isfinite(self.delay_s) and self.delay_s > 0):
            raise UserError(f"packets cannot be held back by {self.delay_s} s; give a number of seconds above 0")
        if self.seed is not None and self.seed < 0:
            raise UserError(f"nothing can be drawn by a seed of {self.seed}; give a whole number, 0 or more")
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
    optional: ClassVar[bool] = False
    """Whether TARGET may be left out, and something that fits is drawn."""
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
    if bool(target) != bool(fault.target) and not fault.optional:
        raise UserError(
            f"{kind} needs a target: {fault.target}"
            if fault.target
            else f"{kind} takes no target; leave out {target!r}"
        )
    vain = [name for name in options.given if name not in fault.takes]
    if vain:
        able = [name for name in FAULTS if vain[0] in FAULTS[name].takes]
        raise UserError(f"{TYPED[vain[0]]} has no effect on {kind}, so leave it out; it is for {', '.join(able)}")
    fault.inject(target, scene, options, tell)
