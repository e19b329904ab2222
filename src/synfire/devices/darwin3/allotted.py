"""The chips that a container was given, as their node tells of them: what is dead there is dead for the emulated chip, too.

A device plugin names them in `SYNFIRE_DARWIN3_CHIPS`, says by `SYNFIRE_DARWIN3_CORES` how many cores of them are the container's, and by
`SYNFIRE_DARWIN3_KEPS` how many thousands of events a second, and keeps the latest report of each chip under
`/run/synfire/darwin3/CHIP/chip.json`.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from synfire.base.errors import UserError
from synfire.base.log import LOGGER
from synfire.devices.cores import Cores, together
from synfire.devices.darwin3.faults import ChipDead, CoreDead, Fault
from synfire.devices.darwin3.limits import ChipLimits
from synfire.devices.darwin3.words import Coordinate

VARIABLE = "SYNFIRE_DARWIN3_CHIPS"
CORES = "SYNFIRE_DARWIN3_CORES"
KEPS = "SYNFIRE_DARWIN3_KEPS"
FOLDER = Path("/run/synfire/darwin3")

LOOK_S = 0.2
"""How often is looked whether there is another report. The plugin tests chips every second at most."""

_TURNS = itertools.count()


class Reported(msgspec.Struct, frozen=True):
    """What counts of a report: whether the chip lives, the `cores` of each class that pass their test, those that are dead, or answer wrong, and
    how many events a second it took in its test; 0 is unknown."""

    alive: bool = True
    cores: dict[str, int] | None = None
    dead: tuple[Coordinate, ...] = ()
    wrong: tuple[Coordinate, ...] = ()
    events_per_s: float = 0.0

    @property
    def faults(self) -> frozenset[Fault]:
        return frozenset({*map(CoreDead, (*self.dead, *self.wrong)), *(() if self.alive else (ChipDead(),))})


class Allotted:
    """One chip's reports, in `file`. What cannot be read changes nothing, and is told in the log."""

    def __init__(self, file: Path, now_s: Callable[[], float] = time.monotonic) -> None:
        self._file = file
        self._now_s = now_s
        self._looked_s = float("-inf")
        self._written_ns = -1
        self._known: frozenset[Fault] = frozenset()

    def news(self) -> frozenset[Fault]:
        """What has broken since this was asked last; nothing when that was a moment ago. What is dead stays so for the stage that knows."""
        if self._now_s() - self._looked_s < LOOK_S:
            return frozenset()
        self._looked_s = self._now_s()
        try:
            written_ns = self._file.stat().st_mtime_ns
            if written_ns == self._written_ns:
                return frozenset()
            found = msgspec.json.decode(self._file.read_bytes(), type=Reported).faults
        except (OSError, msgspec.MsgspecError) as error:
            LOGGER.warning(
                "the report on the chip cannot be read (%s: %s); it is taken to be as before", self._file, error
            )
            return frozenset()
        self._written_ns = written_ns
        new, self._known = found - self._known, self._known | found
        return new


def allotted(environment: Mapping[str, str] = os.environ, folder: Path | None = None) -> Allotted | None:
    """The chip for the next stage, in turns where there are several; None where none is given, and any will do.

    Raises `UserError` for names that are none.
    """
    names = _names(environment)
    return Allotted(_file(names[next(_TURNS) % len(names)], folder)) if names else None


def share(limits: ChipLimits, environment: Mapping[str, str] = os.environ, folder: Path | None = None) -> Cores:
    """The cores that the stages of one worker may take together: as many as `SYNFIRE_DARWIN3_CORES` says, if there are so many, or all; of the
    chips that it was given, those that pass their test, else of one that is whole. No core belongs to a share, so it is an even one of each class.

    In the same way the events a second: as many as `SYNFIRE_DARWIN3_KEPS` says, if these chips took so many in their tests, or all that they took.
    Nothing is measured for that: where neither the variable nor a report says it, it is not known.

    Raises `UserError` for names that are none, and for a number that is none.
    """
    own = Cores(len(limits.rooms), sum(limits.kind_at(*core) == limits.large for core in limits.rooms))
    names = _names(environment)
    there = together(_usable(_file(name, folder), limits, own) for name in names) if names else own
    total = min(_told(CORES, "cores", environment) or there.total, there.total)
    known = [
        each for each in (_told(KEPS, "thousands of events a second", environment), there.keps) if each is not None
    ]
    return Cores(total, there.large * total // max(1, there.total), min(known, default=None))


def _told(variable: str, noun: str, environment: Mapping[str, str]) -> int | None:
    told = environment.get(variable, "").strip()
    if told and not (told.isdecimal() and int(told)):
        raise UserError(
            f"{variable} is {told!r}, which is no number of {noun}; write 1 or more, or leave it out for all that there are"
        )
    return int(told) if told else None


def _names(environment: Mapping[str, str]) -> list[str]:
    names = [each.strip() for each in environment.get(VARIABLE, "").split(",") if each.strip()]
    for name in names:
        if "/" in name or name.startswith("."):
            raise UserError(
                f"{VARIABLE} names {name!r}, which is no chip; a device plugin sets it, so leave it as it is"
            )
    return names


def _file(name: str, folder: Path | None) -> Path:
    return (folder or FOLDER) / name / "chip.json"


def _usable(file: Path, limits: ChipLimits, whole: Cores) -> Cores:
    """What of a chip passes its test, by its report; where that cannot be read, or does not say, all of it."""
    try:
        found = msgspec.json.decode(file.read_bytes(), type=Reported)
    except (OSError, msgspec.MsgspecError) as error:
        LOGGER.warning("the report on the chip cannot be read (%s: %s); it is taken to be whole", file, error)
        return whole
    if not found.alive:
        return Cores()
    keps = int(found.events_per_s / 1000) or None
    if found.cores is None:
        return Cores(whole.total, whole.large, keps)
    return Cores(sum(found.cores.values()), found.cores.get(limits.large, 0), keps)
