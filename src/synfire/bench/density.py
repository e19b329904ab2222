"""Where the dense kernel of a linear layer overtakes the event-driven one, and which of them a program takes."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import numpy as np

from synfire.base.errors import UserError
from synfire.bench.benchmark import BENCHMARKS, Benchmark, Progress, Report, Settings, report
from synfire.engines.cpu import tape
from synfire.engines.cpu.dense_kernels import fits_registers
from synfire.engines.cpu.program import CpuProgram
from synfire.engines.cpu.schedule import chains_of
from synfire.engines.cpu.timing import Stopwatch
from synfire.graph import Graph, Synapse
from synfire.ops import Array, Kind, Signal
from synfire.ops.linear import Linear

DENSITIES = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0)
SIZES = ((512, 10), (512, 32), (512, 64), (128, 128), (512, 128))
BATCHES = (1, 16)
STEPS = 4

_ALWAYS, _NEVER = 0, 10**6
"""Thousandths of active inputs from which on a kernel is dense."""


class Density(Benchmark):
    """The time of a layer's sums alone, in `frames` of a block of 4 time steps and 1 or 16 samples, with each kernel for itself and as it is
    served, in turns. `dense_share` is the share of the frames that were summed densely as served."""

    name = "density"
    about = "the event-driven and the dense kernel of linear layers, from near silence to all inputs active, one core"
    shown = ("inputs", "outputs", "frames", "kind", "density", "event_s", "dense_s", "served_s", "dense_share")

    def measure(self, settings: Settings, progress: Progress) -> Report:
        if not fits_registers():
            raise UserError(
                "this processor has no AVX-512, so its linear layers are summed by the event-driven kernel alone; run this "
                "benchmark on one that has"
            )
        sizes, rounds = (SIZES[:1], 5) if settings.quick else (SIZES, 60)
        rng, rows = np.random.default_rng(settings.seed), []
        for (inputs, outputs), batch, kind in product(sizes, BATCHES, (Kind.SPIKE, Kind.VALUE)):
            progress(f"{inputs} → {outputs}, {batch * STEPS} frames of {kind}s")
            layer = Linear(rng.normal(size=(outputs, inputs)), rng.normal(size=outputs))
            graph = Graph({"l": layer}, (Synapse("x", "l"),), {"x": Signal((inputs,), kind)}, {"y": "l"})
            about = {"inputs": inputs, "outputs": outputs, "frames": batch * STEPS, "kind": str(kind)}
            blocks = {density: _block(rng, kind, (STEPS, batch, inputs), density) for density in DENSITIES}
            rows += [about | row for row in _rows(graph, blocks, rounds)]
        return report(self.name, settings, {"rounds": rounds, "steps": STEPS}, rows, [])


BENCHMARKS.add(Density.name, Density())


def _block(rng: np.random.Generator, kind: Kind, shape: tuple[int, ...], density: float) -> Array:
    numbers = rng.normal(size=shape) if kind is Kind.VALUE else np.ones(shape)
    return ((rng.random(shape) < density) * numbers).astype(kind.dtype)


def _rows(graph: Graph, blocks: Mapping[float, Array], rounds: int) -> Iterator[dict[str, Any]]:
    programs = {"event": _switching(graph, _NEVER), "dense": _switching(graph, _ALWAYS), "served": CpuProgram(graph)}
    watches = {name: [Stopwatch(chain) for chain in chains_of(each.parts)] for name, each in programs.items()}
    for density, block in blocks.items():
        times: dict[str, list[float]] = {name: [] for name in programs}
        event, dense = programs["served"].summed
        for round_ in range(-2, rounds):
            for name, program in programs.items():
                program.run(program.initial_state(block.shape[1]), {"x": block}, len(block))
                seconds = sum(spent for watch in watches[name] for spent in watch.take().values())
                times[name] += [seconds] if round_ >= 0 else []
        event, dense = (now - before for now, before in zip(programs["served"].summed, (event, dense), strict=True))
        yield {
            "density": density,
            **{f"{name}_s": statistics.median(found) for name, found in times.items()},
            "dense_share": dense / (event + dense),
        }


def _switching(graph: Graph, at: int) -> CpuProgram:
    """A program whose synapses become dense, and event-driven again, at that many thousandths of active inputs."""
    program = CpuProgram(graph)
    for chain in chains_of(program.parts):
        for line in chain.lines:
            if tape.ENTER in line.numbers:
                line.numbers |= {tape.ENTER: at, tape.LEAVE: at}
    return program
