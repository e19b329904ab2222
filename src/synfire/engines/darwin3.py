"""An engine whose device is a chip in software.

It promises no bits of the exact engines: weights and membranes are whole numbers here. What it computes is what the words on
the emulated chip make of the spikes, so wrong words and injected faults show.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from synfire.devices import Cores
from synfire.devices.darwin3.cache import ImageCache
from synfire.devices.darwin3.chip import Chip
from synfire.devices.darwin3.compile import Compiled, Options, compile_stage
from synfire.devices.darwin3.deployed import Deployed
from synfire.devices.darwin3.faults import MembraneBit
from synfire.devices.darwin3.host import feeds, fresh_state, run_block
from synfire.devices.darwin3.injection import Target, describe, fault_of
from synfire.devices.darwin3.limits import ChipLimits, chip
from synfire.devices.darwin3.linked import Relinked
from synfire.devices.mending import FaultOrder, Mending
from synfire.engines.engine import ENGINES, DeviceProgram, Engine, Program
from synfire.engines.known_answer import known_answer
from synfire.graph import Graph
from synfire.ops import Array, State
from synfire.store import BlobStore


class Darwin3Program(DeviceProgram):
    """A stage on an emulated chip, which it has for itself.

    A request's state is its membranes, written to the chip and read from it with each block, and the last spikes of whatever
    delayed synapses read: nothing of a request stays on the chip. So a block that a fault interrupted is computed again from
    its beginning, on the cores that are left, and gives the same bits.
    """

    def __init__(self, graph: Graph, compiled: Compiled) -> None:
        super().__init__(graph)
        self._deployed = Deployed(compiled, lambda: known_answer(self))
        self._feeds = feeds(compiled)

    @property
    def compiled(self) -> Compiled:
        """The stage as it lies on the chip now."""
        return self._deployed.compiled

    @property
    def chip(self) -> Chip:
        return self._deployed.chip

    def initial_state(self, batch: int) -> State:
        return fresh_state(self.compiled, batch)

    def run(self, state: State, inputs: Mapping[str, Array], steps: int) -> tuple[State, dict[str, Array]]:
        self._deployed.require_well()
        return run_block(self.compiled, self.chip, self._feeds, state, inputs, steps)

    def adopt(self, relinked: Relinked) -> None:
        """Go on with another linking of the same images: write the words that differ."""
        self._deployed.adopt(relinked)

    def recover(self) -> Relinked:
        """Link around what the chip reports as dead, unproved. Raises `UserError` when no spare core will do."""
        return self._deployed.recover()

    @property
    def cores(self) -> Cores:
        return self.compiled.cores

    @property
    def ailing(self) -> bool:
        return self._deployed.ailing

    def mend(self) -> Mending:
        return self._deployed.mend()

    def examine(self) -> Mending | None:
        return self._deployed.examine()

    def inject(self, fault: FaultOrder) -> str:
        rng = np.random.default_rng(fault.seed)
        found = fault_of(fault.kind, fault.place, Target(self.chip, self.compiled.linked, rng), fault.stuck)
        in_a_run = fault.busy or isinstance(found, MembraneBit)
        steps = 1 + int(rng.integers(self._least_steps)) if in_a_run else 0
        self.chip.inject(found, after_steps=steps)
        return describe(found) + (f", {steps} steps into what runs next" if in_a_run else "")

    def warm(self) -> None:
        """Compile the emulation's kernels, build its tables, and learn the stage's known answer, on which `examine` goes."""
        self._deployed.learn()

    @property
    def _least_steps(self) -> int:
        """The chip steps of the shortest block."""
        return 1 + max(self.compiled.network.latency.values(), default=0)


class Darwin3Engine(Engine):
    """Whole numbers on an emulated darwin3 chip: another device with its own rounding, never bit-identical to `cpu`.

    Emulated: this is a model of the published chip in software, not the chip. Builds stages whose inputs are spikes; what it
    refuses, with the reason, is in `synfire.devices.darwin3.refusals`. Images are kept in `cache`, by default for the life of
    the engine.
    """

    name = device = "darwin3"
    exact = False
    format = "int8"

    def __init__(
        self, limits: ChipLimits | None = None, options: Options | None = None, cache: ImageCache | None = None
    ) -> None:
        self.limits = limits or chip()
        self.options = options or Options()
        self.cache = cache or ImageCache()

    @classmethod
    def installed(cls) -> Engine:
        return cls(cache=ImageCache(BlobStore()))

    def build(self, graph: Graph) -> Program:
        return Darwin3Program(graph, compile_stage(graph, self.limits, self.options, cache=self.cache))


ENGINES.add(Darwin3Engine.name, Darwin3Engine)
