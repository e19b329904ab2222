"""What a chip remembers from step to step, for a batch of samples."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from synfire.base.later import Later
from synfire.devices.darwin3.tables import Tally, Wiring, tally
from synfire.devices.darwin3.words import Coordinate
from synfire.ops import Array

kernels = Later("synfire.devices.darwin3.kernels")
"""They load the compiler, and who only plans for a chip does without."""


class Run:
    """Membrane, current and residue of every neuron, and the neurons that fired last, in each of `batch` samples."""

    def __init__(self, wiring: Wiring, batch: int) -> None:
        self.wiring = wiring
        self.batch = batch
        self.steps = 0
        self.tally: Tally = tally(batch, wiring)
        neurons = len(wiring.tables.core_of)
        self._state = np.repeat(wiring.begun[:, None], batch, axis=1)
        self._sums = np.zeros(batch * neurons, np.int32)
        self._spikes = np.zeros(neurons + -neurons % 8, np.uint8)
        self._fired = np.zeros((batch, neurons), np.int32)
        self._count = np.zeros(batch, np.int64)

    def step(self, given: Array) -> Array:
        """Deliver, update, count; `(event, 4)` of what left: sample, route, dendrite, index.

        `given` is `(event, 4)`: sample, core (−1: none there), dendrite, index.
        """
        left: Array = kernels.advance(
            self.wiring.tables, self.tally, given, self._state, self._sums, self._spikes, self._fired, self._count
        )
        self.steps += 1
        return left

    def state(self, core: Coordinate) -> Array:
        """A view of a core's state, `(batch, 3, neurons)`: membrane, current, residue."""
        return self._state[:, :, self._place(core)].transpose(1, 0, 2)

    def saved(self, core: Coordinate) -> Array:
        """A copy of a core's state and of the spikes under way, `(batch, 4, neurons)`."""
        place = self._place(core)
        fired = np.stack([self._spiked(b)[place] for b in range(self.batch)])[:, None]
        return np.concatenate([self.state(core), fired.astype(np.int16)], axis=1)

    def resume(self, saved: Mapping[Coordinate, Array]) -> None:
        """Put back what `saved` gave, core by core."""
        spiked = np.stack([self._spiked(b) for b in range(self.batch)])
        for core, values in saved.items():
            self.state(core)[:] = values[:, :3]
            spiked[:, self._place(core)] = values[:, 3] != 0
        for b in range(self.batch):
            numbers = np.flatnonzero(spiked[b])
            self._count[b] = len(numbers)
            self._fired[b, : len(numbers)] = numbers

    def rewired(self, wiring: Wiring) -> Run:
        """The run on other tables: cores that are still there, with as many neurons, go on; others start from their words.

        Counters of traffic begin anew where the links in use have changed; the rest goes on.
        """
        after = Run(wiring, self.batch)
        sizes = dict(zip(self.wiring.cores, self.wiring.tables.neurons, strict=True))
        now = dict(zip(wiring.cores, wiring.tables.neurons, strict=True))
        after.resume({core: self.saved(core) for core in sizes if now.get(core) == sizes[core]})
        after.steps = self.steps
        _carry(self, after)
        return after

    def _place(self, core: Coordinate) -> slice:
        slot, tables = self.wiring.cores.index(core), self.wiring.tables
        return slice(int(tables.first[slot]), int(tables.first[slot + 1]))

    def _spiked(self, sample: int) -> Array:
        spiked = np.zeros(self._fired.shape[1], np.bool_)
        spiked[self._fired[sample, : self._count[sample]]] = True
        return spiked


def _carry(before: Run, after: Run) -> None:
    """Counters of before, by the names of cores and links, added to those of after."""
    places = [
        (a, after.wiring.cores.index(core)) for a, core in enumerate(before.wiring.cores) if core in after.wiring.cores
    ]
    for name in ("total_operations", "spikes"):
        for a, b in places:
            getattr(after.tally, name)[:, b] += getattr(before.tally, name)[:, a]
    links = {link: number for number, link in enumerate(after.wiring.links)}
    for name in ("link_load", "link_peak"):
        for a, link in enumerate(before.wiring.links):
            if link in links:
                getattr(after.tally, name)[:, links[link]] += getattr(before.tally, name)[:, a]
    after.tally.lost[:] += before.tally.lost
    after.tally.peak_cycles[:] = before.tally.peak_cycles
