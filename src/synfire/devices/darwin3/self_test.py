"""A chip's own test: a few neurons on every core, and what must come of them.

Each core is given three neurons with a bias of 1, and one event that adds a weight to each. The first two tell what they have
added up, in both values of every bit of a weight; the third fires at once and is reset. A second step lets membranes decay. So
a core passes when its memories give back these words, its program runs and its events arrive.

This finds dead cores, stuck bits in the words that it writes, and cores that no event reaches. Bits that it does not write are
for the known-answer tests of whatever is linked there (`synfire.devices.darwin3.known`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from synfire.base.errors import PermanentError, UserError
from synfire.devices.darwin3.chip import Chip, Events
from synfire.devices.darwin3.mesh import route
from synfire.devices.darwin3.neurons import SECTION, Model, Register, State, program
from synfire.devices.darwin3.site import PORT_AT
from synfire.devices.darwin3.words import (
    Block,
    Coordinate,
    CoreImage,
    Kind,
    Memory,
    dendrite_heads,
    pack_values,
    pack_weights,
)

WEIGHT_BITS = 8
WEIGHTS = 0x55, 0xAA - 256, 100
THRESHOLDS = 200, 200, 90
BIAS, HALF = 1, 128
TIMED = 16

RIGHT = ((86, -85, 0), (44, -42, 1))
"""The membranes after the step of the event, and one step later."""

UNHEARD = ((1, 1, 1), (1, 1, 1))
"""The same where no event arrives: only the bias is added, and a half of 1, rounded down, is nothing."""


@dataclass(frozen=True)
class Tested:
    """What a test found: cores that answer wrong, those that events do not reach past dead links, and how fast it went."""

    alive: bool = True
    wrong: tuple[Coordinate, ...] = ()
    cut_off: tuple[Coordinate, ...] = ()
    events_per_s: float = 0.0


def self_test(chip: Chip) -> Tested:
    """Test every core that the chip does not report as dead. What was on the chip is gone, so it is for one that nothing uses."""
    try:
        return _tested(chip)
    except PermanentError:  # it died, or a core did, while it was tested
        return self_test(chip) if chip.health().alive else Tested(alive=False)


def _tested(chip: Chip) -> Tested:
    if not chip.health().alive:
        return Tested(alive=False)
    chip.reset()
    living = [core for core in chip.limits.hosts() if core not in chip.health().dead_cores]
    cores = [core for core in living if _loaded(chip, core)]
    forgetful = set(living) - set(cores)
    if not cores:
        return Tested(wrong=tuple(living))
    events = Events.join(*(Events.at(core, dendrite=0) for core in cores))
    try:
        chip.begin()
    except UserError:  # a core that keeps no words cannot even be turned off, and nothing runs beside it
        return Tested(wrong=tuple(living))
    chip.step(events)
    first = [_membranes(chip, core) for core in cores]
    chip.step()
    found = dict(zip(cores, zip(first, (_membranes(chip, core) for core in cores), strict=True), strict=True))
    dead = chip.health().dead_links
    cut_off = tuple(core for core in living if dead and not set(route(PORT_AT, core)).isdisjoint(dead))
    wrong = forgetful | {core for core in cores if found[core] != (UNHEARD if core in cut_off else RIGHT)}
    return Tested(True, tuple(sorted(wrong)), cut_off, _rate(chip, events))


def _loaded(chip: Chip, core: Coordinate) -> bool:
    """Write a core; whether it gives the words back. Otherwise it is turned off."""
    chip.load(core, _IMAGE)
    for block in _IMAGE.blocks():
        if not np.array_equal(chip.read(core, block.memory, block.address, len(block.words)), block.words):
            chip.clear(core)
            return False
    return True


def _rate(chip: Chip, events: Events) -> float:
    """How many of these events the chip takes a second, by its quickest of `TIMED` steps."""
    took_s = []
    for _ in range(TIMED):
        began_s = time.perf_counter()
        chip.step(events)
        took_s.append(time.perf_counter() - began_s)
    return len(events) / min(took_s)


def _membranes(chip: Chip, core: Coordinate) -> tuple[int, ...]:
    return tuple(chip.read_state(core)[0].tolist())


def _image() -> CoreImage:
    registers = np.zeros(48, np.int64)
    registers[[Register.NEURONS, Register.WEIGHT_BITS, Register.P0, Register.P1]] = (
        len(WEIGHTS),
        WEIGHT_BITS,
        HALF,
        BIAS,
    )
    head = dendrite_heads(Kind.RANGE, count=len(WEIGHTS), where=0, weights=1)
    return CoreImage(
        dendrite=np.concatenate([head, pack_weights(WEIGHTS, WEIGHT_BITS)]),
        program=program(Model.CLIF),
        register=pack_values(registers),
        state=(Block(Memory.STATE, State.THRESHOLD * SECTION, pack_values(THRESHOLDS)),),
    )


_IMAGE = _image()
