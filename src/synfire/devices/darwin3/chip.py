"""A chip in software: two ports, faults, health, counters."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from synfire.base.errors import PermanentError, UnknownName, UserError
from synfire.devices.darwin3.activity import Activity, activity
from synfire.devices.darwin3.condition import Condition
from synfire.devices.darwin3.core import Core
from synfire.devices.darwin3.events import Events
from synfire.devices.darwin3.faults import CoreDead, Damage, Fault, Health, LinkDead, MembraneBit, MemoryBit
from synfire.devices.darwin3.limits import ChipLimits
from synfire.devices.darwin3.mesh import Link, require_link
from synfire.devices.darwin3.neurons import SECTION, Register, State
from synfire.devices.darwin3.run import Run
from synfire.devices.darwin3.tables import LIVE, Wiring, require_emulated, wire
from synfire.devices.darwin3.words import Coordinate, CoreImage, Memory, Words, pack_values, unpack_values
from synfire.ops import Array

__all__ = ["Chip", "Events"]


class Chip:
    """A chip in software: `Chip(limits.chip("darwin3"))`. Raises `UserError` for one known by its limits only.

    Life: `configure` (or `load`) words core by core → `begin(batch)`: membranes from the state words, for `batch` samples that
    know nothing of each other, as if each had a chip → `step(events)` for each time step.

    A time step: (1) events given to `step`, and the spikes that neurons fired in the step before, arrive and their weights add
    up; (2) every neuron of every core in use is updated and may fire. So a spike reaches the next layer one step later (two
    banks of weight sums: one fills while the other is used), and input given at step t acts at step t. Spikes whose axon
    entry points to (0, 0) or off the mesh leave the chip: `step` returns them in the step in which they were fired.

    Not thread-safe: one chip, one caller at a time.
    """

    def __init__(self, limits: ChipLimits) -> None:
        self.limits = require_emulated(limits)
        self.writes = 0
        self.written_words = 0
        self._cores: dict[Coordinate, Core] = {}
        self._condition = Condition()
        self._stepped = 0
        self._due: list[tuple[int, Fault]] = []
        self._wiring: Wiring | None = None
        self._run: Run | None = None
        self._state_writes: list[tuple[Coordinate, int, Words]] = []

    # the configuration port

    @property
    def written_bytes(self) -> int:
        """What the configuration port has carried: four flits, 16 bytes, a word."""
        return self.written_words * (self.limits.word_bytes or 0)

    @property
    def cores(self) -> tuple[Coordinate, ...]:
        """The cores that run neurons, dead ones too, in ascending coordinate."""
        return tuple(sorted(at for at, core in self._cores.items() if core.neurons))

    def configure(self, core: Coordinate, memory: Memory | str, address: int, words: Words) -> None:
        """Write words from `address` on; a running neuron's state is set in every sample.

        Raises `UserError` beyond a memory's end, for too wide a word or where no core is; `PermanentError` for a dead core or chip.
        """
        memory, words = _memory(memory), np.atleast_1d(np.asarray(words, np.uint64))
        self._require_alive(core)
        self._core(core).memories[memory].write(address, words)
        self.writes += 1
        self.written_words += len(words)
        if memory is Memory.STATE and self._run is not None:
            self._state_writes.append((core, address, words))
        self._changed(core)

    def load(self, core: Coordinate, image: CoreImage) -> None:
        """Write a whole core."""
        for block in image.blocks():
            self.configure(core, block.memory, block.address, block.words)

    def read(self, core: Coordinate, memory: Memory | str, address: int = 0, count: int | None = None) -> Words:
        """Words as the core sees them, stuck bits included; by default all up to the highest address written."""
        self._require_alive(core)
        return self._core(core).memories[_memory(memory)].read(address, count)

    def clear(self, core: Coordinate) -> None:
        """Turn a core off: it runs no neuron. Costs one word, and is free for a dead core, which runs none anyway."""
        if core in self._condition.dead_cores:
            self._cores.pop(core, None)
            self._changed(core)
        else:
            self.configure(core, Memory.REGISTER, Register.NEURONS, pack_values(0))

    def reset(self) -> None:
        """Reset the whole chip: every memory is empty, nothing runs. What is broken stays so; bytes written stay counted."""
        self._require_alive()
        for core in self._cores.values():
            for memory in core.memories.values():
                memory.clear()
            core.changed()
        self._wiring = self._run = None

    # the data port

    def begin(self, batch: int = 1) -> None:
        """Start `batch` independent samples: state from the state words, no spike under way, counters at 0."""
        if batch < 1:
            raise UserError(f"a batch has at least one sample, not {batch}")
        self._require_alive()
        self._run = None
        self._run = Run(self._wired(), batch)
        self._state_writes.clear()

    def step(self, events: Events | None = None) -> Events:
        """One time step; returns what left the chip, with the coordinate that its entry names.

        Raises `UserError` before `begin`, for a sample or dendrite that is none, or a core whose registers or program make no sense;
        `PermanentError` for a dead chip.
        """
        run, wiring = self._running(), self._wired()
        out = run.step(self._given(events, wiring, run.batch))
        end = wiring.ends[out[:, 1]]
        self._stepped += 1
        if self._due:
            self._strike()
        return Events(out[:, 0], end[:, 0], end[:, 1], out[:, 2], out[:, 3])

    def read_state(self, core: Coordinate, section: State | int = State.MEMBRANE) -> Array:
        """A section of the neurons' state, `(batch, neurons)` int16. Before `begin` it is the state words, of one sample."""
        self._require_alive(core)
        if self._run is None or section == State.THRESHOLD or core not in self._wired().cores:
            return self._core(core).state(State(section))[None]
        return self._running().state(core)[:, LIVE.index(State(section))].copy()

    def save(self) -> dict[Coordinate, Array]:
        """All that a run remembers between two steps, by core: `(batch, 4, neurons)` int16 of membrane, current, residue, spike."""
        run = self._running()
        return {core: run.saved(core) for core in self._wired().cores}

    def resume(self, saved: Mapping[Coordinate, Array]) -> None:
        """Go on from what `save` returned, in a run of the same batch; cores not named keep what they have.

        Raises `UserError` for a core that does not run, or another shape.
        """
        run = self._running()
        for core, values in saved.items():
            expected = (run.batch, 4, self._core(core).neurons)
            if core not in self._wired().cores or values.shape != expected:
                raise UserError(
                    f"the state of core {core} is {values.shape}, and the run needs {expected}; begin with its batch"
                )
        run.resume(saved)

    def activity(self) -> Activity:
        """What the run did so far, by sample."""
        run = self._running()
        return activity(self.limits, run.steps, run.wiring, run.tally)

    # faults and health

    def inject(self, fault: Fault, after_steps: int = 0) -> None:
        """Break something, at once or when the chip has made so many more steps.

        Raises `UserError` for a place that does not exist, and breaks nothing then.
        """
        self._require_place(fault)
        if after_steps:
            self._due.append((self._stepped + after_steps, fault))
        else:
            self._break(fault, True)

    def repair(self, fault: Fault) -> None:
        """Mend what is dead or stuck; a flipped bit is mended by writing its word."""
        if isinstance(fault, MembraneBit) or (isinstance(fault, MemoryBit) and fault.damage is Damage.FLIPPED):
            raise UserError("a flipped bit cannot be repaired; write the word again, or begin a new run")
        self._require_place(fault)
        self._break(fault, False)

    def health(self) -> Health:
        """What the chip reports about itself: dead cores, dead links, or nothing at all. Wrong bits go unnoticed.

        The same object as long as nothing changes.
        """
        return self._condition.health

    @property
    def reported_s(self) -> float:
        """When `health` last changed, on the monotonic clock, in seconds."""
        return self._condition.reported_s

    def _strike(self) -> None:
        """Break what is due."""
        due = [fault for at, fault in self._due if at <= self._stepped]
        self._due = [each for each in self._due if each[0] > self._stepped]
        for fault in due:
            self._break(fault, True)

    def _require_place(self, fault: Fault) -> None:
        if isinstance(fault, CoreDead):
            self.limits.kind_at(*fault.core)
        elif isinstance(fault, LinkDead):
            self._require_link(fault.link)
        elif isinstance(fault, MemoryBit):
            self._core(fault.core).memories[fault.memory].require_bit(fault.address, fault.bit)
        elif isinstance(fault, MembraneBit):
            self._require_neuron(fault)

    def _break(self, fault: Fault, broken: bool) -> None:
        if isinstance(fault, MembraneBit):
            self._flip_membrane(fault)
        elif isinstance(fault, MemoryBit):
            self._damage(fault, broken)
        else:
            self._condition.change(fault, broken)
            self._wiring = None

    def _require_link(self, link: Link) -> None:
        for end in require_link(link):
            if not self.limits.on_mesh(*end):
                raise UserError(
                    f"the mesh is {self.limits.width} × {self.limits.height}, and {end} is not on it; name a link of it"
                )

    def _damage(self, fault: MemoryBit, broken: bool) -> None:
        memory = self._core(fault.core).memories[fault.memory]
        if not broken:
            memory.unstick(fault.address, fault.bit)
        elif fault.damage is Damage.FLIPPED:
            memory.flip(fault.address, fault.bit)
        else:
            memory.stick(fault.address, fault.bit, fault.damage is Damage.STUCK_AT_1)
        self._changed(fault.core)

    def _require_neuron(self, fault: MembraneBit) -> None:
        run = self._running()
        if fault.core not in self._wired().cores or not 0 <= fault.neuron < self._core(fault.core).neurons:
            raise UserError(f"no neuron {fault.neuron} runs on core {fault.core}; the chip runs {self.cores}")
        if not 0 <= fault.bit < 16 or not (fault.sample is None or 0 <= fault.sample < run.batch):
            raise UserError(f"a membrane has bits 0 to 15 and the run {run.batch} samples; {fault} names another")

    def _flip_membrane(self, fault: MembraneBit) -> None:
        if fault.core in self._wired().cores:  # it may have died since
            samples = slice(None) if fault.sample is None else fault.sample
            self._running().state(fault.core)[samples, 0, fault.neuron] ^= np.uint16(1 << fault.bit).astype(np.int16)

    # what the ports share

    def _core(self, at: Coordinate) -> Core:
        at = int(at[0]), int(at[1])
        if at not in self._cores:
            self._cores[at] = Core(self.limits, at)
        return self._cores[at]

    def _changed(self, core: Coordinate) -> None:
        if core in self._cores:
            self._cores[core].changed()
        self._wiring = None

    def _wired(self) -> Wiring:
        """The tables of the words as they are now; a run goes on with them."""
        if self._wiring is None:
            self._wiring = wire(self.limits, self._cores, self._condition.dead_cores, self._condition.dead_links)
            if self._run is not None:
                self._run = self._run.rewired(self._wiring)
                for core, address, words in self._state_writes:
                    self._set_state(self._run, core, address, words)
            self._state_writes.clear()
        return self._wiring

    def _running(self) -> Run:
        self._require_alive()
        self._wired()
        if self._run is None:
            raise UserError("the chip has not begun: call begin(batch) first")
        return self._run

    def _require_alive(self, core: Coordinate | None = None) -> None:
        if not self._condition.alive:
            raise PermanentError(f"the {self.limits.name} chip does not answer; move what it hosts to another chip")
        if core in self._condition.dead_cores:
            raise PermanentError(f"core {core} is dead; link its image to another core")

    def _set_state(self, run: Run, core: Coordinate, address: int, words: Words) -> None:
        """Carry state words that were written over to the samples that run."""
        if core not in run.wiring.cores:
            return
        state, values = run.state(core), unpack_values(words)
        for row, section in enumerate(LIVE):
            first = max(address, section * SECTION)
            last = min(address + len(words), section * SECTION + state.shape[2])
            if first < last:
                state[:, row, first - section * SECTION : last - section * SECTION] = values[
                    first - address : last - address
                ]

    def _given(self, events: Events | None, wiring: Wiring, batch: int) -> Array:
        if events is None or not len(events):
            return np.zeros((0, 4), np.int64)
        columns = np.array(events.columns(), np.int64)
        limits = (batch, *wiring.grid.shape, self.limits.dendrites_per_core or 0, SECTION)
        if columns.min() < 0 or (columns.max(axis=1) >= limits).any():
            _refuse(columns, limits)
        given = np.empty((columns.shape[1], 4), np.int64)
        given[:, 0], given[:, 1] = columns[0], wiring.grid[columns[1], columns[2]]
        given[:, 2:] = columns[3:].T
        return given


def _memory(name: Memory | str) -> Memory:
    if name not in tuple(Memory):
        raise UnknownName.among("memory of a core", str(name), tuple(Memory))
    return Memory(name)


def _refuse(columns: Array, limits: tuple[int, ...]) -> None:
    """Raise `UserError` for events of which a column does not fit its limit."""
    nouns = "a sample of this run", "an x of the mesh", "a y of the mesh", "a dendrite", "an index"
    for noun, values, limit in zip(nouns, columns, limits, strict=True):
        for wrong in values[(values < 0) | (values >= limit)][:1]:
            raise UserError(f"an event names {wrong} as {noun}, which is 0 to {limit - 1}; check how events were made")
