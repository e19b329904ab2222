"""Operators that run together, in one call of the compiled program."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from threading import get_ident
from typing import Any

import numpy as np

from synfire.base.errors import UserError
from synfire.engines.cpu import tape
from synfire.engines.cpu.lending import lender
from synfire.engines.cpu.player import play
from synfire.engines.cpu.scratch import scratch
from synfire.engines.cpu.team import ENOUGH, Team
from synfire.engines.cpu.vectors import SLACK
from synfire.engines.cpu.writing import COUNTED, Line, Uncounted, Value, Writer
from synfire.ops import Array, Kind, Signal, State, sharing

CACHED_BYTES = 1 << 19
"""What the values of one group of samples may take, so that they stay in a processor's second cache beside the weights."""

Player = Callable[[Array, int, int, int, int, int], None]
"""Plays a tape; see `synfire.engines.cpu.player.play`."""

_BLOCKS = 32
"""For how many kinds of blocks, and threads, the tape is kept with its addresses."""


@dataclass(frozen=True)
class Bound:
    """A chain's tape for blocks of a certain size: all addresses that do not change, and the memory behind them.

    `exceeded` becomes 1 where neurons give a count that the chain may not add up.
    """

    lines: Array
    group: int
    memory: Array
    own: Mapping[int, Sequence[int]]
    exceeded: Array

    @cached_property
    def numbers(self) -> memoryview:
        """The tape's numbers one behind the other: to write one there takes half of the time that it takes in an array."""
        return self.lines.reshape(-1).data

    def copies(self, threads: int) -> list[Array]:
        """The tape for each thread but the first, with memory of its own where it sums: `own`, by column and thread."""
        made = [self.lines.copy() for _ in range(1, threads)]
        for column, addresses in self.own.items():
            for lines, address in zip(made, addresses[1:], strict=True):
                lines[:, column] = address
        return made


@dataclass(frozen=True)
class Laid:
    """An output in the memory that is lent for a block's outputs: it begins `at` bytes, and a line's numbers from `place` on say where
    it is, and how many bytes a sample and a step of it have."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    at: int
    place: int
    sample_bytes: int
    step_bytes: int


class Chain:
    """Lines, and the chain's inputs and outputs in the order in which loads and stores name them."""

    def __init__(
        self, writer: Writer, key: str, inputs: Sequence[Signal], outputs: Sequence[tuple[str, Signal]]
    ) -> None:
        self.key, self.lines, self.inputs, self.outputs = key, tuple(writer.lines), tuple(inputs), tuple(outputs)
        for line in self.lines:
            line.arrays = {place: _once(array) for place, array in line.arrays.items()}
        self._room, self._counted = (writer.current_floats, writer.active), writer.counted
        kinds = [line.numbers[tape.KIND] for line in self.lines]
        loads = [tape.PLACES_OF_A_LINE * k + tape.SOURCE for k, kind in enumerate(kinds) if kind == tape.LOAD]
        self._loads = tuple(
            (place, signal, signal.kind.dtype) for place, signal in zip(loads, self.inputs, strict=True)
        )
        self._stores = [tape.PLACES_OF_A_LINE * k + tape.TARGET for k, kind in enumerate(kinds) if kind == tape.STORE]
        self._several = any(tape.CHOICES in line.numbers and _counts(line) for line in self.lines)
        self._memories = [(k, each) for k, line in enumerate(self.lines) for each in line.memories]
        self._remembering = np.array([tape.PLACES_OF_A_LINE * k + each.place for k, each in self._memories], np.int64)
        ends = np.cumsum([0, *(each.words for _, each in self._memories)])
        self._words, self._offsets = int(ends[-1]), 4 * ends[:-1]
        self._places = list(zip(self._offsets.tolist(), (each for _, each in self._memories), strict=True))
        self._states = lender("states", self._words)
        self._lent = lender("outputs", *(signal.size * signal.kind.dtype.itemsize for _, signal in self.outputs))
        self._lives = self._lifetimes()
        self.frames = np.zeros(2, np.int64)
        """How many were summed event-driven, and how many densely, by synapses that may be either."""
        self._bind, self._lay = lru_cache(_BLOCKS)(self._bound), lru_cache(_BLOCKS)(self._laid)
        self.player: Player = play
        self.team: Team | None = None
        self.operations = sum(_operations(line) for line in self.lines)
        self._weight_bytes = sum(line.arrays[tape.WEIGHT].nbytes for line in self.lines if tape.WEIGHT in line.arrays)

    @property
    def remembers(self) -> bool:
        """Whether its operators have a state."""
        return self._words > 0

    def initial_state(self, batch: int) -> Array:
        """`(batch, word)`: all that its operators remember, in one piece; what is in it is known to the chain alone."""
        fresh = np.zeros((batch, self._words), np.uint32)
        octets = fresh.view(np.uint8)
        for at, memory in self._places:
            content = np.frombuffer(memory.fresh.tobytes(), np.uint8)
            if content.any():  # what is never written to takes no memory
                octets[:, at : at + content.size] = content
        return fresh

    def portable(self, state: Array) -> State:
        """What its operators remember, by `operator/name`, as the reference engine keeps it."""
        octets = np.ascontiguousarray(state).view(np.uint8)
        return {each.key: each.portable(octets[:, at : at + each.fresh.nbytes]) for at, each in self._places}

    def own(self, portable: State) -> Array:
        """The inverse of `portable`; what is not its operators' is left aside."""
        made = [(at, each.octets(portable[each.key])) for at, each in self._places]
        state = np.zeros((len(made[0][1]), self._words), np.uint32)
        for at, octets in made:
            state.view(np.uint8)[:, at : at + octets.shape[1]] = octets
        return state

    def run(self, state: Array, inputs: Sequence[Array], steps: int) -> tuple[Array, dict[str, Array]]:
        """Advance by a block: `inputs` are `(steps, batch, ...)`; the state afterwards, and the outputs.

        Raises `Uncounted`; nothing has changed then.
        """
        batch = inputs[0].shape[1]
        bound = self._bind(steps, 1 << max(batch - 1, 0).bit_length(), get_ident())
        numbers, given = bound.numbers, []
        for (place, signal, dtype), array in zip(self._loads, inputs, strict=True):
            block = _fitting(array, signal, dtype, steps, batch)
            if self._counted and signal.kind is Kind.COUNT and _most(block) >= COUNTED:
                raise Uncounted
            numbers[place] = _address(block)
            numbers[place + 2], numbers[place + 1] = block.strides[:2]
            given.append(block)
        size, outputs = self._lay(steps, batch)
        lent, address = self._lent.lend(size)
        found = {}
        for each in outputs:
            found[each.name] = np.ndarray(each.shape, each.dtype, lent, each.at)
            numbers[each.place], numbers[each.place + 1] = address + each.at, each.sample_bytes
            numbers[each.place + 2] = each.step_bytes
        before, state_bytes = np.ascontiguousarray(state, np.uint32), 4 * self._words
        if before.shape != (batch, self._words):
            raise UserError(
                f"the state of {self.key} is {before.shape}, not {(batch, self._words)}; it is another engine's or batch's"
            )
        after, address = self._states.lend(batch * state_bytes)
        bound.lines.reshape(-1)[self._remembering] = self._offsets + address
        rest = batch, bound.group, _address(before), address, state_bytes
        if self.team is not None and self.operations * batch * steps >= ENOUGH:
            self.team.play([bound.lines, *bound.copies(self.team.threads)], *rest)
        else:
            self.player(bound.lines, *rest)
        if self._several and bound.exceeded[0]:
            bound.exceeded[0] = 0
            raise Uncounted
        return np.ndarray((batch, self._words), np.uint32, after), found

    def _laid(self, steps: int, batch: int) -> tuple[int, tuple[Laid, ...]]:
        """How many bytes the outputs of a block take, each from a multiple of 8 on, and where each lies among them."""
        found, at = [], 0
        for place, (name, signal) in zip(self._stores, self.outputs, strict=True):
            dtype = signal.kind.dtype
            size = signal.size * dtype.itemsize
            found.append(Laid(name, (steps, batch, *signal.shape), dtype, at, place, size, size * batch))
            at += -(-size * steps * batch // 8) * 8
        return at, tuple(found)

    def _lifetimes(self) -> dict[int, tuple[int, int]]:
        """The first and the last line at which each value is needed."""
        lives: dict[int, tuple[int, int]] = {}
        for k, line in enumerate(self.lines):
            for value in self._inner(line).values():
                lives[value.place] = (lives.get(value.place, (k, k))[0], k)
        return lives

    def _bound(self, steps: int, batch: int, thread: int) -> Bound:
        """The tape for blocks of `steps` of up to `batch` samples: what few of them need lies close together, in memory of the
        calling thread."""
        values = {each.place: each for line in self.lines for each in self._inner(line).values()}
        frames = {place: 1 if value.still else steps for place, value in values.items()}
        _, sample_bytes = _packed(
            {place: frames[place] * each.frame_bytes for place, each in values.items()}, self._lives
        )
        threads = range(1 if self.team is None else self.team.threads)
        fitting = max(CACHED_BYTES, self._weight_bytes // 4) // max(sample_bytes, 1)
        group = min(batch, max(fitting, 1 if len(threads) == 1 else 2 * len(threads)))
        sizes = {place: group * frames[place] * value.frame_bytes for place, value in values.items()}
        at, taken = _packed(sizes, self._lives)
        floats, active = self._room
        shared = {tape.CURRENT: 4 * floats, tape.SUMMED: 4 * floats, tape.ACTIVE: 4 * active, tape.FACTORS: 4 * active}
        fixed, size = _packed(shared, dict.fromkeys(shared, (0, len(self.lines))))
        memory = scratch(taken + len(threads) * size)
        base = _address(memory)
        own = {column: [base + taken + k * size + offset for k in threads] for column, offset in fixed.items()}
        first = {column: addresses[0] for column, addresses in own.items()}
        lines, exceeded = np.zeros((len(self.lines), tape.PLACES_OF_A_LINE), np.int64), np.zeros(1, np.int64)
        lines[:, tape.EXCEEDED] = _address(exceeded)
        for row, line in zip(lines, self.lines, strict=True):
            self._fill(row, line, first, steps)
            for column, value in self._inner(line).items():
                step = 0 if value.still else value.frame_bytes
                row[column : column + 3] = base + at[value.place], frames[value.place] * value.frame_bytes, step
        return Bound(lines, group, memory, own, exceeded)

    def _fill(self, row: Array, line: Line, scratch: Mapping[int, int], steps: int) -> None:
        for column, number in {**scratch, **line.numbers}.items():
            row[column] = number
        for column, array in line.arrays.items():
            row[column] = _address(array)
        if tape.ENTER in line.numbers:
            row[tape.COUNTED] = _address(self.frames)
        still = line.ports[tape.TARGET].still and line.numbers[tape.KIND] != tape.STORE
        row[tape.STEPS] = 1 if still else steps

    @staticmethod
    def _inner(line: Line) -> dict[int, Value]:
        """The line's values that lie in scratch memory."""
        outside = {tape.STORE: tape.TARGET}.get(line.numbers[tape.KIND])
        return {column: value for column, value in line.ports.items() if column != outside}


def _counts(line: Line) -> bool:
    """Whether its neurons give several spikes a step."""
    return line.ports[tape.TARGET].signal.kind is Kind.COUNT


def _operations(line: Line) -> int:
    """Synaptic operations of a line for one sample and time step, if all inputs were active."""
    if tape.WEIGHT not in line.arrays:
        return 0
    return int(line.arrays[tape.WEIGHT].size * line.numbers[tape.HEIGHT] * line.numbers[tape.WIDTH])


def _packed(
    sizes: Mapping[int, int], lives: Mapping[int, tuple[int, int]], start: int = 0
) -> tuple[dict[int, int], int]:
    """Where pieces of memory lie that live from one line to another, and where they end: what does not live together may share.

    Each begins at a multiple of 64 bytes, and has slack behind it.
    """
    placed: dict[int, int] = {}
    ends: dict[int, int] = {}
    for key in sorted(sizes, key=lambda key: lives[key]):
        first, last = lives[key]
        beside = sorted((placed[k], ends[k]) for k in placed if lives[k][0] <= last and first <= lives[k][1])
        at, size = start, -(-(sizes[key] + SLACK) // 64) * 64
        for begin, end in beside:
            if at + size <= begin:
                break
            at = max(at, end)
        placed[key], ends[key] = at, at + size
    return placed, max(ends.values(), default=start)


def _fitting(array: Array, signal: Signal, dtype: np.dtype[Any], steps: int, batch: int) -> Array:
    """The block in its signal's dtype, with each sample's numbers of one step in one piece. Raises `UserError`."""
    shape = array.shape
    if shape[2:] != signal.shape or shape[1] != batch or shape[0] < steps:
        raise UserError(f"{shape} arrived for {signal} over (steps, batch) {steps, batch}; give (steps, batch, *shape)")
    if array.dtype is not dtype and array.dtype != dtype:
        array = array.astype(dtype)
    whole = array.flags.c_contiguous or (array.size and array[0, 0].flags.c_contiguous)
    return array if whole else np.ascontiguousarray(array)


def _most(counts: Array) -> int:
    """The largest of them; a negative one is beyond all others."""
    return int(counts.view(np.uint32).max(initial=0))


def _once(array: Array) -> Array:
    """The array, or an equal one that another program reads; vector code wants some at multiples of 64 bytes."""
    return sharing.shared(array, "" if _address(array) % 64 else "aligned")


def _address(array: Array) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
