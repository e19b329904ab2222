"""Nets for images of CIFAR's size against SpikingJelly: the same weights, the same images, in turns."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from synfire.bench.benchmark import BENCHMARKS, Benchmark, Progress, Report, Settings, floor, in_turns, report, spread
from synfire.bench.cifar_nets import NETS, STEPS, images
from synfire.bench.contenders import Call, entered, named, require, versions
from synfire.bench.frameworks import Case, agreement, fastest
from synfire.bench.page import page, table
from synfire.engines.cpu.engine import CpuEngine
from synfire.graph import Graph
from synfire.graph.passes import simplify
from synfire.ops import Array
from synfire.testing.layerwise import run_forced
from synfire.testing.parity import (
    Flips,
    compare_spikes,
    membrane_before_firing,
    neuron_layers,
    require_parity,
)

BATCHES = (1, 16)
THREADS = 2
"""What synfire is granted: as many as SpikingJelly may use."""


class Cifar(Benchmark):
    """SVGG-11, SEW-ResNet-18 and Spikformer-4-256 on 3×32×32 images, T = 4, with the spike densities of trained nets.

    Weights are random and densities are set: see `synfire.bench.cifar_nets`. SpikingJelly runs the same graph with its own
    neurons and torch's layers, BatchNorm folded, with one thread and with two; its best counts. synfire runs the exact
    profile with one thread and with two. A run judges the SpikingJelly of its environment: 0.0.0.0.14 and 2.0 need one each.
    """

    name = "cifar"
    about = "SVGG-11, SEW-ResNet-18, Spikformer-4-256 at CIFAR's size against SpikingJelly, densities of trained nets"
    environment = "make parity"
    shown = ("model", "batch", "framework", "threads", "median_s", "q1_s", "q3_s", "speedup", "same_predictions")

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(NETS)

    def measure(self, settings: Settings, progress: Progress) -> Report:
        require("torch", "spikingjelly")
        models = settings.only or (("sew-resnet18",) if settings.quick else self.parts)
        rounds, batches = (2, BATCHES[:1]) if settings.quick else (10, BATCHES)
        rows: list[dict[str, Any]] = []
        layers: list[dict[str, Any]] = []
        for model in models:
            progress(f"{model}: weights, and shifts for its densities")
            graph = simplify(NETS[model](settings.seed))
            for batch in batches:
                progress(f"{model}, batch {batch}")
                case = Case(model, graph, {"input": images(batch, settings.seed + 1)}, batch, "random")
                rows += compared(case, rounds)
            progress(f"{model}: spike for spike")
            layers += spiking_layers(case)
        floors = [floor("cifar_min_speedup", ">=", 4.0, min(fastest(rows).values()))]
        details = {"rounds": rounds, "models": models, "frameworks": versions(), "weights": "random", "layers": layers}
        return report(self.name, settings, details, rows, floors)

    def documents(self, found: Report) -> dict[str, str]:
        layers = found.settings["layers"]
        settings = {name: value for name, value in found.settings.items() if name != "layers"}
        brief = Report(
            benchmark=found.benchmark, machine=found.machine, settings=settings, rows=found.rows, floors=found.floors
        )
        sections = [
            "## Times\n", table(found.rows, self.shown),
            "## Layers\n", "Spikes of SpikingJelly and of synfire, each layer fed SpikingJelly's own.\n",
            table(layers, list(layers[0])),
        ]  # fmt: skip
        return {f"{self.name}.md": page(brief, f"{self.name}: {self.about}", sections)}


BENCHMARKS.add(Cifar.name, Cifar())


def compared(case: Case, rounds: int) -> list[dict[str, Any]]:
    """One row for each framework and number of threads; `speedup` is over synfire's time with what it was granted."""
    granted = min(THREADS, len(os.sched_getaffinity(0)))
    calls = {f"synfire/{threads}": _Call(case, threads) for threads in sorted({1, granted})}
    others = _spikingjelly(case)
    times = in_turns({**calls, **others}, rounds, warm_up=1, untimed=1)
    ours = calls[f"synfire/{granted}"]()
    ours_s = spread(times[f"synfire/{granted}"])["median_s"]
    rows = []
    for name, seconds in times.items():
        framework, _, threads = name.partition("/")
        about = {"model": case.model, "batch": case.batch, "framework": framework, "threads": int(threads)}
        found = calls[name]() if name in calls else others[name]()
        measured = spread(seconds)
        rows.append({**about, **measured, **agreement(ours, found), "speedup": measured["median_s"] / ours_s})
    return rows


def spiking_layers(case: Case) -> list[dict[str, Any]]:
    """For each layer of neurons its density, and where synfire's spikes differ from SpikingJelly's.

    Every layer is fed SpikingJelly's own spikes. Raises `AssertionError` for a flip that is no rounding, or too many of them.
    """
    graph = case.graph
    everything = Graph(graph.operators, graph.synapses, graph.inputs, {name: name for name in graph.order()})
    call, *_ = _spikingjelly(Case(case.model, everything, case.inputs, case.batch, case.data)).values()
    theirs = {name: np.asarray(array, np.float32) for name, array in call().items()}
    flips = list(_flips(graph, theirs))
    require_parity(flips)
    return [
        {"model": case.model, "layer": each.layer, "density": each.spikes / each.places, "spikes": each.spikes,
         "flips": each.flips, "unexplained": each.unexplained}
        for each in flips
    ]  # fmt: skip


def _flips(graph: Graph, theirs: Mapping[str, Array]) -> list[Flips]:
    ours = run_forced(graph, theirs)
    recorded = {name: (theirs[graph.arriving(name)[0].source], theirs[name]) for name in neuron_layers(graph)}
    found = []
    for name, (given, spikes) in recorded.items():
        neuron = graph.operator(name)
        membrane, threshold = membrane_before_firing(neuron, given, spikes)
        found.append(compare_spikes(spikes, ours[name], membrane, threshold, name))
    return found


def _spikingjelly(case: Case) -> dict[str, Call]:
    return entered(case.graph, case.inputs, named("spikingjelly")).calls


class _Call:
    """One request to synfire, from a fresh state, with a number of threads."""

    def __init__(self, case: Case, threads: int) -> None:
        self._case, self._program = case, CpuEngine(threads).build(case.graph)

    def __call__(self) -> dict[str, Array]:
        state = self._program.initial_state(self._case.batch)
        return self._program.run(state, self._case.inputs, STEPS)[1]
