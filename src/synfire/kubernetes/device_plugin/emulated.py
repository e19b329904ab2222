"""Emulated chips, so that a device plugin can be tried without hardware: they are broken by writing a file.

Each has a folder, `DIRECTORY/darwin3-0`, with `chip.json`, its latest report, and, where somebody writes it, `faults`: one line for
each thing that is broken, `core-dead 3,2`, `mesh-link-dead 3,2-4,2`, `bit-stuck 3,2@1.7` (a dendrite word's bit is 1 for good) or
`chip-dead`. A line that is taken out again is a repair.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec

from synfire.base.errors import UserError
from synfire.base.log import LOGGER
from synfire.devices.darwin3.chip import Chip
from synfire.devices.darwin3.faults import ChipDead, CoreDead, Damage, Fault, LinkDead, MemoryBit
from synfire.devices.darwin3.injection import Place as Broken
from synfire.devices.darwin3.limits import chip
from synfire.devices.darwin3.self_test import self_test
from synfire.kubernetes.device_plugin.chips import Chips, Given
from synfire.kubernetes.device_plugin.report import Place, Report
from synfire.store.files import write_atomically

KIND = "darwin3"
CONTAINER = Path("/run/synfire") / KIND
"""Where a container finds the folders of the chips that it was given."""

FAULTS, REPORT = "faults", "chip.json"


class EmulatedChips(Chips):
    """`count` chips in software, in rows of `row` on a board (by default as square as can be), with folders in `directory`.

    Raises `UserError` when the folders cannot be made.
    """

    def __init__(self, count: int, directory: Path, row: int | None = None) -> None:
        row = row or math.ceil(math.sqrt(count))
        self._directory = directory
        self._chips = {f"{KIND}-{n}": _Emulated(directory / f"{KIND}-{n}", (n % row, n // row)) for n in range(count)}
        for each in self._chips.values():
            try:
                each.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(
                    f"{each.folder} cannot be made: {error.strerror}; name another with --chips-dir"
                ) from error

    def reported(self) -> bool:
        news = [each.broken() for each in self._chips.values()]  # each is asked, whatever the others say
        return any(news)

    def test(self) -> tuple[Report, ...]:
        return tuple(each.tested(name) for name, each in self._chips.items())

    def given(self, chip: str) -> Given:
        return Given(mounts={str(CONTAINER / chip): self._chips[chip].folder})


class _Emulated:
    """One chip, and what its file of faults says."""

    def __init__(self, folder: Path, place: Place) -> None:
        self.folder = folder
        self._place = place
        self._chip = Chip(chip(KIND))
        self._text = ""
        self._faults: frozenset[Fault] = frozenset()
        self._rate = 0.0

    def broken(self) -> bool:
        """Break and mend what the file says; whether that was news. A file that makes no sense changes nothing, and is told once."""
        text = self._read()
        if text == self._text:
            return False
        self._text = text
        try:
            wanted = frozenset(_faults(text))
            for each in wanted:
                Chip(self._chip.limits).inject(each)  # a place that does not exist is refused before anything breaks
        except UserError as error:
            LOGGER.warning("%s: %s; the faults of before stay", self.folder / FAULTS, error)
            return False
        for each in self._faults - wanted:
            self._chip.repair(each)
        for each in wanted - self._faults:
            self._chip.inject(each)
        self._faults, before = wanted, self._faults
        return wanted != before

    def tested(self, name: str) -> Report:
        """Test it, and leave the report in its folder."""
        self.broken()
        limits, found = self._chip.limits, self_test(self._chip)
        self._rate = max(self._rate, found.events_per_s)
        dead = self._chip.health().dead_cores
        cores = Counter(dict.fromkeys(limits.class_of_column, 0))
        if found.alive:
            cores.update(limits.kind_at(*core) for core in limits.hosts() if core not in {*dead, *found.wrong})
        report = Report(
            name,
            self._place,
            found.alive,
            dict(cores),
            limits.cores,
            len(set(found.cut_off) - set(found.wrong)),
            dead,
            found.wrong,
            limits.neurons_per_core or 0,
            self._rate,
        )
        write_atomically(self.folder / REPORT, msgspec.json.encode(report))
        return report

    def _read(self) -> str:
        try:
            return (self.folder / FAULTS).read_text()
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as error:
            return f"unreadable: {error}"


def _faults(text: str) -> Iterator[Fault]:
    """What the lines of the file say. Raises `UserError` that names the line."""
    for number, line in enumerate(text.splitlines(), 1):
        kind, _, place = line.partition("#")[0].strip().partition(" ")
        if kind:
            try:
                yield _fault(kind, Broken.of(place.strip()))
            except UserError as error:
                raise UserError(f"line {number}, {line.strip()!r}: {error}") from error


def _fault(kind: str, place: Broken | None) -> Fault:
    match kind, place:
        case "chip-dead", None:
            return ChipDead()
        case "core-dead", Broken(core, None, None):
            return CoreDead(core)
        case "mesh-link-dead", Broken(core, (int(), int()) as other, None):
            return LinkDead((core, other))
        case "bit-stuck", Broken(core, None, int() as address, bit):
            return MemoryBit(core, address, bit, Damage.STUCK_AT_1)
    raise UserError("write core-dead X,Y, mesh-link-dead X,Y-X,Y, bit-stuck X,Y@ADDRESS.BIT or chip-dead")
