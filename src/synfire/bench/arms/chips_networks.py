"""What runs on emulated darwin3 chips while their cores die: stages, requests for them, and the right answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from synfire.devices.darwin3.chip import Chip
from synfire.devices.darwin3.compile import Compiled, compile_stage
from synfire.devices.darwin3.host import feeds, fresh_state, run_block
from synfire.devices.darwin3.limits import chip
from synfire.devices.darwin3.linked import Relinked, Write
from synfire.engines.cpu.engine import CpuEngine
from synfire.graph import Graph
from synfire.graph.passes import simplify
from synfire.ops import Array
from synfire.testing.darwin3 import parts, wide_network
from synfire.testing.zoo import held_out, inputs_of
from synfire.zoo import load

LIMITS = chip()

DIGITS = 24
"""Held-out digits that are asked of each model."""

SPIKES, DENSITY, WIDE_STEPS = 4, 0.1, 4
"""Requests for the wide networks, their share of spikes, and their time steps."""

WIDE = {"wide-16": (4, 16), "wide-112": (7, 64)}
"""Convolutional networks that fill so many cores: layers and channels of 32 × 32 pixels."""


@dataclass(frozen=True, eq=False)
class Stage:
    """A stage that has an emulated chip for itself: how it was compiled, requests, and the outputs of an undisturbed chip.

    `inputs` and `right` are `(step, request, …)`. `step_s` is the shortest time step into which the busiest step of any of these
    requests fits, by the emulation's assumptions: the chip is not slower than it has to be.
    """

    graph: Graph
    compiled: Compiled
    inputs: Mapping[str, Array]
    right: Mapping[str, Array]
    step_s: float

    @property
    def requests(self) -> int:
        return next(iter(self.right.values())).shape[1]

    @property
    def steps(self) -> int:
        """The time steps of a request."""
        return len(next(iter(self.right.values())))

    @property
    def chip_steps(self) -> int:
        """The chip's steps for a request: layer by layer they lag behind."""
        return self.steps + max(self.compiled.network.latency.values())

    def request(self, number: int) -> dict[str, Array]:
        """The inputs of a request."""
        return {name: array[:, number : number + 1] for name, array in self.inputs.items()}

    def answers(self, number: int, found: Mapping[str, Array]) -> bool:
        """Whether that is the answer to a request, bit by bit."""
        return all(
            found[name].tobytes() == wanted[:, number : number + 1].tobytes() for name, wanted in self.right.items()
        )

    def first_spike(self, number: int) -> int:
        """The chip's steps until a request's first output: a spike that leaves the chip, or a membrane that the host reads."""
        return min(self._first_steps(number), default=self.chip_steps)

    def _first_steps(self, number: int) -> Iterator[int]:
        network = self.compiled.network
        for name, output in network.outputs.items():
            late = 1 + max(network.latency[each] for each, _ in output.terms)
            spiking = self.right[name][:, number].reshape(self.steps, -1).any(axis=1)
            if output.membrane or spiking.any():
                yield late + (0 if output.membrane else int(spiking.argmax()))


class Seat:
    """An emulated chip with a stage on it."""

    def __init__(self, compiled: Compiled) -> None:
        self.chip = Chip(LIMITS)
        self.compiled = compiled
        self._feeds = feeds(compiled)
        self.write(compiled.linked.writes())

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The stage's outputs for requests `(step, request, …)`."""
        steps, batch = next(iter(inputs.values())).shape[:2]
        return run_block(self.compiled, self.chip, self._feeds, fresh_state(self.compiled, batch), inputs, steps)[1]

    def deploy(self, compiled: Compiled) -> None:
        """Write every word of another deployment in place of this one, and turn off the living cores that it leaves."""
        left = set(self.compiled.linked.cores) - set(compiled.linked.cores) - set(self.chip.health().dead_cores)
        for core in left & set(self.chip.cores):
            self.chip.clear(core)
        self.write(compiled.linked.writes())
        self.compiled, self._feeds = compiled, feeds(compiled)

    def adopt(self, relinked: Relinked) -> None:
        """Write the words in which a linking of the same images differs."""
        self.write(relinked.writes)
        self.compiled = replace(self.compiled, linked=relinked.linked)

    def write(self, writes: Iterable[Write]) -> None:
        """Words through the configuration port."""
        for each in writes:
            self.chip.configure(each.core, each.memory, each.address, each.words)


def stages_of(model: str) -> list[Stage]:
    """The stages of a model that the chip takes, each on a chip of its own, with what the cpu stages before hand them."""
    graph = simplify(load(model))
    requests, _ = held_out(graph.metadata["dataset"], DIGITS)
    values: dict[str, Array] = dict(inputs_of(graph, requests))
    found = []
    for part in parts(graph):
        given = {name: values[name] for name in part.graph.inputs}
        if part.on_chip:
            found.append(stage_of(part.graph, given))
            values |= found[-1].right
        else:
            program = CpuEngine().build(part.graph)
            values |= program.run(program.initial_state(len(requests)), given, graph.steps or 1)[1]
    return found


def wide_stage(name: str, seed: int) -> Stage:
    """A wide network on a chip; its requests are random spikes."""
    layers, channels = WIDE[name]
    graph = wide_network(layers, channels)
    ((source, signal),) = graph.inputs.items()
    rng = np.random.default_rng(seed)
    spikes = (rng.random((WIDE_STEPS, SPIKES, *signal.shape)) < DENSITY).astype(signal.kind.dtype)
    return stage_of(graph, {source: spikes})


def stage_of(graph: Graph, inputs: Mapping[str, Array]) -> Stage:
    """Compile a stage and learn its answers from an undisturbed chip."""
    compiled = compile_stage(graph, LIMITS)
    seat = Seat(compiled)
    right = seat.run(inputs)
    return Stage(graph, compiled, inputs, right, float(seat.chip.activity().needed_step_s.max()))
