"""What a chip can hold: numbers as data (`chips.json`), and what they refuse."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from importlib import resources
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from synfire.base.errors import UnknownName, UserError
from synfire.devices.cores import Cores
from synfire.devices.darwin3.words import Coordinate, Memory, weights_per_word

CHIPS = "chips.json"
STATE_WORDS, REGISTER_WORDS = 4 * 4096, 48


@dataclass(frozen=True)
class Demand:
    """What somebody wants to put on a chip. A field left None is not asked about."""

    cores: int | None = None
    neurons: int | None = None
    synapses: int | None = None
    neurons_per_core: int | None = None
    synapses_per_core: int | None = None
    fan_in: int | None = None
    inputs: int | None = None
    outputs: int | None = None
    weight_bits: int | None = None
    state_bits: int | None = None
    kernel: int | None = None
    channels: int | None = None
    map: int | None = None


@dataclass(frozen=True)
class ChipLimits:
    """One kind of chip. A limit that the chip does not have, or that nobody published, is None.

    `cores` host neurons; `width` × `height` is the mesh, `reserved` the coordinates on it without neurons (darwin3: the RISC-V
    core at (0, 0)). `class_of_column[x mod its length]` is the class of the core at (x, y), which sets its `dendrite_words`.
    `kernel`, `channels` and `map` (pixels a side) bound a convolution. `word_bytes` is what writing one word costs at the
    configuration port. Times in seconds, energies in joules without idle power.
    """

    name: str
    source: str
    cores: int
    neurons: int
    neurons_per_core: int | None = None
    synapses: int | None = None
    synapses_per_core: int | None = None
    fan_in: int | None = None
    inputs: int | None = None
    outputs: int | None = None
    kernel: int | None = None
    channels: int | None = None
    map: int | None = None
    width: int | None = None
    height: int | None = None
    reserved: tuple[Coordinate, ...] = ()
    class_of_column: tuple[str, ...] = ()
    dendrite_words: dict[str, int] | None = None
    axon_words: int | None = None
    dendrites_per_core: int | None = None
    reach: int | None = None
    weight_bits: tuple[int, ...] | None = None
    default_weight_bits: int | None = None
    state_bits: int | None = None
    program_words: int | None = None
    word_bytes: int | None = None
    min_step_s: float | None = None
    default_step_s: float | None = None
    clock_hz: float | None = None
    energy_per_sop_j: float | None = None

    @property
    def meshed(self) -> bool:
        """Whether mesh and memories are known, so that the chip can be emulated and linked."""
        return self.width is not None and self.height is not None and self.dendrite_words is not None

    def on_mesh(self, x: int, y: int) -> bool:
        """Whether there is a router at (x, y)."""
        return 0 <= x < (self.width or 0) and 0 <= y < (self.height or 0)

    def kind_at(self, x: int, y: int) -> str:
        """The class of the core at (x, y). Raises `UserError` where no core hosts neurons."""
        if not self.on_mesh(x, y) or (x, y) in self.reserved:
            raise UserError(
                f"{self.name} hosts no neurons at ({x}, {y}); its mesh is {self.width} × {self.height} without {self.reserved}"
            )
        return self.class_of_column[x % len(self.class_of_column)]

    def hosts(self) -> Iterator[Coordinate]:
        """The coordinates of every core that hosts neurons, row by row."""
        for y in range(self.height or 0):
            for x in range(self.width or 0):
                if (x, y) not in self.reserved:
                    yield x, y

    @functools.cached_property
    def rooms(self) -> dict[Coordinate, int]:
        """The dendrite words of every core that hosts neurons, row by row; nothing for a chip whose memories are not known."""
        words = self.dendrite_words or {}
        return {(x, y): words[self.kind_at(x, y)] for x, y in self.hosts()} if self.meshed else {}

    @functools.cached_property
    def room_grid(self) -> NDArray[np.int64]:
        """`(x, y)`: `rooms`, and −1 where no core hosts neurons."""
        grid = np.full((self.width or 0, self.height or 0), -1)
        for core, words in self.rooms.items():
            grid[core] = words
        return grid

    @functools.cached_property
    def large(self) -> str:
        """The class of the cores with the most dendrite words; empty where classes are not known."""
        words = self.dendrite_words or {}
        return max(words, key=words.__getitem__, default="")

    def need(self, pieces: Iterable[int]) -> Cores:
        """The cores that pieces of so many dendrite words take: one each, a large one where no smaller class holds that."""
        words, sizes = list(pieces), sorted((self.dendrite_words or {}).values())
        smaller = sizes[-2] if len(sizes) > 1 else math.inf
        return Cores(len(words), sum(each > smaller for each in words))

    def memory_words(self, memory: Memory, kind: str) -> int:
        """How many words a memory of a core of that class has."""
        sizes = {
            Memory.DENDRITE: (self.dendrite_words or {}).get(kind),
            Memory.AXON: self.axon_words,
            Memory.PROGRAM: self.program_words,
            Memory.REGISTER: REGISTER_WORDS,
            Memory.STATE: STATE_WORDS,
        }
        if sizes[memory] is None:
            raise UserError(f"{self.name} has no {memory} memory for cores of class {kind!r}; use one of its classes")
        return int(sizes[memory] or 0)

    def weights_per_core(self, kind: str, bits: int) -> int:
        """Weights that fill the whole dendrite memory of a core; heads and lists take from that."""
        return self.memory_words(Memory.DENDRITE, kind) * weights_per_word(bits)

    def within_reach(self, source: Coordinate, target: Coordinate) -> bool:
        """Whether an axon entry at `source` can name `target` without a relay."""
        reach = self.reach if self.reach is not None else 2**31
        return max(abs(target[0] - source[0]), abs(target[1] - source[1])) <= reach

    def refusals(self, demand: Demand) -> tuple[str, ...]:
        """Why the chip cannot hold that: one sentence a limit, with both numbers. Empty when it can."""
        return tuple(self._refusals(demand))

    def require(self, demand: Demand) -> None:
        """Raise `UserError` with every refusal."""
        if refused := self.refusals(demand):
            raise UserError("; ".join(refused) + ": cut it smaller, or place it on another device")

    def _refusals(self, demand: Demand) -> Iterator[str]:
        for each in fields(Demand):
            asked, limit = getattr(demand, each.name), getattr(self, each.name)
            if asked is None or limit is None:
                continue
            noun = each.name.replace("_", " ")
            if isinstance(limit, tuple):
                if asked not in limit:
                    yield f"{self.name} has {noun} {', '.join(map(str, limit))}, not {asked}"
            elif asked > limit:
                yield f"{self.name} has at most {limit} {noun}, not {asked}"


def chip(name: str = "darwin3") -> ChipLimits:
    """The limits of a known chip. Raises `UnknownName`."""
    if name not in _chips():
        raise UnknownName.among("chip", name, _chips())
    return _chips()[name]


def chips() -> tuple[str, ...]:
    """The names of the known chips."""
    return tuple(sorted(_chips()))


@functools.cache
def _chips() -> dict[str, ChipLimits]:
    text = resources.files(__package__).joinpath(CHIPS).read_bytes()
    found: dict[str, dict[str, Any]] = msgspec.json.decode(text)
    return {name: msgspec.convert({"name": name, **each}, ChipLimits) for name, each in found.items()}
