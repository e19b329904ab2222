"""Every family of the zoo against the frameworks it comes from: the same weights, the same inputs, in turns."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from synfire.base.errors import UserError
from synfire.bench.benchmark import BENCHMARKS, Benchmark, Progress, Report, Settings, floor, in_turns, report, spread
from synfire.engines.engine import ENGINES
from synfire.engines.measure import steps_of
from synfire.graph import Graph, flatten
from synfire.graph.passes import simplify
from synfire.ops import Array, Encoder
from synfire.plan import stage_graph
from synfire.testing.zoo import held_out, inputs_of
from synfire.zoo import load, names, sample

BATCHES = (1, 16)
ENGINE = "cpu"


@dataclass(frozen=True)
class Case:
    """A model's spiking part, from behind its pre-processing and random encoders to the readout, with real inputs."""

    model: str
    graph: Graph
    inputs: dict[str, Array]
    batch: int
    data: str

    @property
    def steps(self) -> int:
        return self.graph.steps or steps_of(self.graph, self.inputs)


class Frameworks(Benchmark):
    """synfire, SpikingJelly and, where it can, snnTorch on one machine in one run."""

    name = "frameworks"
    about = "every family against SpikingJelly and snnTorch: same weights and inputs, batch 1 and 16"

    def measure(self, settings: Settings, progress: Progress) -> Report:
        require("torch", "spikingjelly")
        rounds = 3 if settings.quick else 60
        models = [name for name in names() if name.endswith("-digits")] if settings.quick else list(names())
        rows = []
        for case in cases(models):
            progress(f"{case.model}, batch {case.batch}")
            rows += _compare(case, rounds)
        speedups = fastest(rows).values()
        floors = [
            floor("frameworks_geomean_speedup", ">=", 5.0, statistics.geometric_mean(speedups)),
            floor("frameworks_min_speedup", ">=", 2.0, min(speedups)),
        ]
        details = {"rounds": rounds, "models": models, "batches": BATCHES, "frameworks": versions()}
        return report(self.name, settings, details, rows, floors)


BENCHMARKS.add(Frameworks.name, Frameworks())


def fastest(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, int], float]:
    """By model and batch, how much longer than synfire the fastest of the others takes, with its best number of threads."""
    found: dict[tuple[str, int], float] = {}
    for row in rows:
        if row["framework"] != "synfire":
            case = row["model"], row["batch"]
            found[case] = min(found.get(case, math.inf), row["speedup"])
    return found


def versions() -> dict[str, str]:
    """Which frameworks were compared with; SpikingJelly's two generations need an environment and a run each."""
    installed = (name for name in ("torch", "spikingjelly", "snntorch") if importlib.util.find_spec(name) is not None)
    return {name: version(name) for name in installed}


def require(*packages: str) -> None:
    """Raises `UserError` that says what is missing of the packages to compare with."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"this benchmark compares with {' and '.join(packages)}, and {' and '.join(missing)} cannot be imported; "
            "`make parity` installs them; then run the benchmark with .venv-parity-2/bin/synfire"
        )


def cases(models: Sequence[str]) -> Iterator[Case]:
    """Each model's spiking part at each batch size, with real inputs."""
    for model in models:
        for batch in BATCHES:
            yield _case(model, simplify(flatten(load(model))), batch)


def _case(model: str, graph: Graph, batch: int) -> Case:
    """Run what is not compared (decoding, features, random encoders), and keep what comes out as the case's input."""
    requests, data = _requests(graph, batch)
    compared = tuple(name for name in graph.order() if _is_compared(graph, name))
    part = stage_graph(graph, compared)
    if set(part.inputs) <= set(graph.inputs):
        return Case(model, part, requests, batch, data)
    before = Graph(
        graph.operators, graph.synapses, graph.inputs, {name: name for name in part.inputs if name in graph.operators}
    )
    program = ENGINES[ENGINE]().build(before)
    _, encoded = program.run(program.initial_state(batch), requests, graph.steps or steps_of(graph, requests))
    return Case(
        model, part, {name: encoded[name] if name in encoded else requests[name] for name in part.inputs}, batch, data
    )


def _is_compared(graph: Graph, name: str) -> bool:
    operator = graph.operator(name)
    if operator.kind == "ConstantCurrent":
        return True
    return graph.signals()[name].timed and not isinstance(operator, Encoder)


def _requests(graph: Graph, batch: int) -> tuple[dict[str, Array], str]:
    """Held-out data where it is at hand, else plausible samples; and which of them it is."""
    try:
        return inputs_of(graph, held_out(graph.metadata["dataset"], batch)[0]), "held out"
    except UserError:
        samples = [sample(graph, seed) for seed in range(batch)]
        return {name: np.concatenate([each[name] for each in samples]) for name in graph.inputs}, "random"


def _compare(case: Case, rounds: int) -> list[dict[str, Any]]:
    """One row a framework; `speedup` is its median time over synfire's."""
    program, steps = ENGINES[ENGINE]().build(case.graph), case.steps

    def run() -> dict[str, Array]:
        return program.run(program.initial_state(case.batch), case.inputs, steps)[1]

    ours = run()
    calls: dict[str, Callable[[], object]] = {"synfire": run}
    others = dict(framework_calls(case))
    times = in_turns({**calls, **others}, rounds)
    ours_s = spread(times["synfire"])["median_s"]
    rows = []
    for name, seconds in times.items():
        framework, _, threads = name.partition("/")
        row: dict[str, Any] = {
            "model": case.model,
            "data": case.data,
            "batch": case.batch,
            "framework": framework,
            "threads": threads,
        }
        theirs = ours if name == "synfire" else others[name]()
        rows.append(
            {**row, **spread(seconds), **agreement(ours, theirs), "speedup": spread(seconds)["median_s"] / ours_s}
        )
    return rows


def framework_calls(case: Case) -> Iterator[tuple[str, Callable[[], dict[str, Array]]]]:
    """The other frameworks' calls, each with one torch thread and with all of them."""
    import torch

    from synfire.testing import counterpart

    nets = {"spikingjelly": counterpart.Counterpart(case.graph, counterpart.spikingjelly_neuron, stepwise=False)}
    if importlib.util.find_spec("snntorch") is not None:
        with contextlib.suppress(UserError):  # a neuron that snnTorch does not have: no row
            nets["snntorch"] = counterpart.Counterpart(case.graph, counterpart.snntorch_neuron, stepwise=True)
    inputs = {name: torch.from_numpy(array.astype(np.float32)) for name, array in case.inputs.items()}
    for name, net in nets.items():
        for threads in sorted({1, torch.get_num_threads()}):
            yield f"{name}/{threads}", _Call(net.eval(), inputs, threads)


@dataclass
class _Call:
    """One request to a framework's net, from fresh state."""

    net: Any
    inputs: Mapping[str, Any]
    threads: int

    def __call__(self) -> dict[str, Array]:
        import torch

        torch.set_num_threads(self.threads)
        with torch.inference_mode():
            self.net.reset()
            return {name: tensor.numpy() for name, tensor in self.net(self.inputs).items()}


def agreement(ours: Mapping[str, Array], theirs: Mapping[str, Array]) -> dict[str, float]:
    """How often the last step's highest score is the same, and the largest difference of any output."""
    name = next(iter(ours))
    same = np.mean(ours[name][-1].argmax(-1) == theirs[name][-1].argmax(-1))
    return {"same_predictions": float(same), "max_difference": float(np.abs(ours[name] - theirs[name]).max())}
