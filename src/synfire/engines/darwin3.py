"""An engine whose device is a chip in software.

It promises no bits of the exact engines: weights and membranes are whole numbers here. What it computes is what the words on
the emulated chip make of the spikes, so wrong words and injected faults show.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from synfire.devices.darwin3.cache import ImageCache
from synfire.devices.darwin3.chip import Chip
from synfire.devices.darwin3.compile import Compiled, Options, compile_stage
from synfire.devices.darwin3.host import feeds, fresh_state, run_block
from synfire.devices.darwin3.limits import ChipLimits, chip
from synfire.devices.darwin3.link import relink
from synfire.devices.darwin3.linked import Relinked
from synfire.engines.engine import ENGINES, Engine, Program
from synfire.graph import Graph
from synfire.ops import Array, State


class Darwin3Program(Program):
    """A stage on an emulated chip, which it has for itself.

    A request's state is its membranes, written to the chip and read from it with each block, and the last spikes of whatever
    delayed synapses read: nothing of a request stays on the chip.
    """

    def __init__(self, graph: Graph, compiled: Compiled) -> None:
        super().__init__(graph)
        self.compiled = compiled
        self.chip = Chip(compiled.linked.limits)
        self._feeds = feeds(compiled)
        for write in compiled.linked.writes():
            self.chip.configure(write.core, write.memory, write.address, write.words)

    def initial_state(self, batch: int) -> State:
        return fresh_state(self.compiled, batch)

    def run(self, state: State, inputs: Mapping[str, Array], steps: int) -> tuple[State, dict[str, Array]]:
        return run_block(self.compiled, self.chip, self._feeds, state, inputs, steps)

    def adopt(self, relinked: Relinked) -> None:
        """Go on with another linking of the same images: write the words that differ."""
        for write in relinked.writes:
            self.chip.configure(write.core, write.memory, write.address, write.words)
        self.compiled = replace(self.compiled, linked=relinked.linked)

    def recover(self) -> Relinked:
        """Link around what the chip reports as dead. Raises `UserError` when no spare core will do."""
        relinked = relink(self.compiled.linked, self.chip.health())
        self.adopt(relinked)
        return relinked

    def warm(self) -> None:
        """Run one silent step, so that the emulation's kernels are compiled and its tables built."""
        signals = self.inputs.items()
        silent = {name: np.zeros((1, 1, *signal.shape), signal.kind.dtype) for name, signal in signals}
        self.run(self.initial_state(1), silent, 1)


class Darwin3Engine(Engine):
    """Whole numbers on an emulated darwin3 chip: another device with its own rounding, never bit-identical to `cpu`.

    Emulated: this is a model of the published chip in software, not the chip. Builds stages whose inputs are spikes; what it
    refuses, with the reason, is in `synfire.devices.darwin3.refusals`.
    """

    name = "darwin3"

    def __init__(
        self, limits: ChipLimits | None = None, options: Options | None = None, cache: ImageCache | None = None
    ) -> None:
        self.limits = limits or chip()
        self.options = options or Options()
        self.cache = cache

    def build(self, graph: Graph) -> Program:
        return Darwin3Program(graph, compile_stage(graph, self.limits, self.options, cache=self.cache))


ENGINES.add(Darwin3Engine.name, Darwin3Engine)
