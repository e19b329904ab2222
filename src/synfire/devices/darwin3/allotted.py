"""The chips that a container was given, as their node tells of them: what is dead there is dead for the emulated chip, too.

A device plugin names them in `SYNFIRE_DARWIN3_CHIPS`, and keeps the latest report of each under `/run/synfire/darwin3/CHIP/chip.json`.
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
from synfire.devices.darwin3.faults import ChipDead, CoreDead, Fault
from synfire.devices.darwin3.words import Coordinate

VARIABLE = "SYNFIRE_DARWIN3_CHIPS"
FOLDER = Path("/run/synfire/darwin3")

LOOK_S = 0.2
"""How often is looked whether there is another report. The plugin tests chips every second at most."""

_TURNS = itertools.count()


class Reported(msgspec.Struct, frozen=True):
    """What counts of a report: whether the chip lives, and the cores that are dead, or answer wrong."""

    alive: bool = True
    dead: tuple[Coordinate, ...] = ()
    wrong: tuple[Coordinate, ...] = ()

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
    names = [each.strip() for each in environment.get(VARIABLE, "").split(",") if each.strip()]
    if not names:
        return None
    name = names[next(_TURNS) % len(names)]
    if "/" in name or name.startswith("."):
        raise UserError(f"{VARIABLE} names {name!r}, which is no chip; a device plugin sets it, so leave it as it is")
    return Allotted((folder or FOLDER) / name / "chip.json")
