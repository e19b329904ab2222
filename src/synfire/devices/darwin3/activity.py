"""What a run did and cost: spikes, synaptic operations, energy, traffic, and the time step that it needed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synfire.devices.darwin3.limits import ChipLimits
from synfire.devices.darwin3.mesh import Link
from synfire.devices.darwin3.tables import Tally, Wiring
from synfire.devices.darwin3.words import Coordinate
from synfire.ops import Array


@dataclass(frozen=True, eq=False)
class Activity:
    """Counts since `Chip.begin`, arrays with the sample first.

    `operations` and `spikes` are `(batch, core)` in the order of `cores`, `link_load` and `link_peak` (spikes in all, and in
    the busiest step) `(batch, link)` in the order of `links`; `lost` are events that nobody heard. `energy_j` is operations times
    the published 5.47 pJ: without idle power, neuron updates and the mesh, which are not published.

    `needed_step_s` is the shortest time step in which the busiest step fits: the busiest core takes a cycle for each
    synaptic operation and instruction, the busiest link two for each spike (assumed), never less than the chip's minimum.
    Where it is over the configured time step, the hardware would have been late.
    """

    steps: int
    cores: tuple[Coordinate, ...]
    links: tuple[Link, ...]
    operations: Array
    spikes: Array
    hops: Array
    lost: Array
    link_load: Array
    link_peak: Array
    needed_step_s: Array
    energy_j: Array

    @property
    def synaptic_operations(self) -> Array:
        """`(batch,)`."""
        total: Array = self.operations.sum(axis=1)
        return total


def activity(limits: ChipLimits, steps: int, wiring: Wiring, counted: Tally) -> Activity:
    """The counters, in units."""
    operations = counted.total_operations
    return Activity(
        steps=steps,
        cores=wiring.cores,
        links=wiring.links,
        operations=operations.copy(),
        spikes=counted.spikes.copy(),
        hops=counted.link_load.sum(axis=1),
        lost=counted.lost.copy(),
        link_load=counted.link_load.copy(),
        link_peak=counted.link_peak.copy(),
        needed_step_s=np.maximum(counted.peak_cycles / (limits.clock_hz or np.inf), limits.min_step_s or 0.0),
        energy_j=operations.sum(axis=1) * (limits.energy_per_sop_j or 0.0),
    )
