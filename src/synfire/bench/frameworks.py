"""Every family of the zoo against the frameworks it comes from: the same weights, the same inputs, in turns."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from synfire.base.errors import UserError
from synfire.bench.benchmark import (
    BENCHMARKS,
    Benchmark,
    Floor,
    Progress,
    Report,
    Settings,
    floor,
    in_turns,
    report,
    spread,
)
from synfire.bench.contenders import Contender, entered, installed, require, versions
from synfire.bench.machine import machine
from synfire.engines.engine import ENGINES
from synfire.engines.samples import steps_of
from synfire.graph import Graph, flatten
from synfire.graph.passes import simplify
from synfire.ops import Array, Encoder
from synfire.plan import stage_graph
from synfire.testing.zoo import held_out, inputs_of
from synfire.zoo import load, names, sample

BATCHES = (1, 16)
ENGINE = "cpu"
OURS = "synfire"


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
    """synfire with one thread against each framework that is installed, with one thread and with all, on one machine in one run.

    What `beside` reports found of the same cases counts, too: SpikingJelly's generations exclude each other. A speedup is of times
    taken in turns, and so always of one run; the floors take the least of each case's. A quick run compiles nothing.
    """

    name = "frameworks"
    about = "every family against SpikingJelly, snnTorch and Norse: same weights and inputs, batch 1 and 16"
    environment = "make parity"
    shown = (
        "model", "data", "batch", "framework", "version", "threads", "median_s", "q1_s", "q3_s", "speedup", "fastest", "same_predictions",
        "max_difference", "refused",
    )  # fmt: skip
    joins = True

    @property
    def parts(self) -> tuple[str, ...]:
        """The models; floors are stated by a run of all."""
        return tuple(names())

    def measure(self, settings: Settings, progress: Progress) -> Report:
        require("torch", "spikingjelly")
        contenders = installed(compiled=not settings.quick)
        rounds = 3 if settings.quick else 60
        digits = tuple(name for name in self.parts if name.endswith("-digits"))
        models = settings.only or (digits if settings.quick else self.parts)
        wanted = {(model, batch) for model in models for batch in BATCHES}
        rows = [row for each in settings.beside for row in taken(each, wanted, rounds)]
        for case in cases(models):
            progress(f"{case.model}, batch {case.batch}")
            rows += compared(case, rounds, contenders)
        details = {"rounds": rounds, "models": list(models), "batches": BATCHES, "frameworks": versions()}
        beside = [each.settings["frameworks"] for each in settings.beside]
        floors = [] if settings.only else _floors(rows)
        return report(self.name, settings, {**details, "beside": beside}, marked(rows), floors)


BENCHMARKS.add(Frameworks.name, Frameworks())


def _floors(rows: Sequence[Mapping[str, Any]]) -> list[Floor]:
    speedups = fastest(rows).values()
    return [
        floor("frameworks_geomean_speedup", ">=", 5.0, statistics.geometric_mean(speedups)),
        floor("frameworks_min_speedup", ">=", 2.0, min(speedups)),
    ]


def fastest(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, int], float]:
    """By model and batch, how much longer than synfire the fastest of the others takes, with its best number of threads."""
    found: dict[tuple[str, int], float] = {}
    for row in rows:
        if row["framework"] != OURS and "speedup" in row:
            case = _case_of(row)
            found[case] = min(found.get(case, math.inf), row["speedup"])
    return found


def marked(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows by case, each case's fastest of the others marked as such."""
    least, order = fastest(rows), list(dict.fromkeys(map(_case_of, rows)))
    found = []
    for row in sorted(rows, key=lambda row: order.index(_case_of(row))):
        plain = {name: value for name, value in row.items() if name != "fastest"}
        counts = row["framework"] != OURS and "speedup" in row and row["speedup"] == least[_case_of(row)]
        found.append({**plain, "fastest": True} if counts else plain)
    return found


def taken(beside: Report, wanted: Collection[tuple[str, int]], rounds: int) -> list[dict[str, Any]]:
    """The rows of these cases in another run's report. Raises `UserError` where it is not of this machine, or not of the same extent."""
    here = machine()
    if any(beside.machine[name] != here[name] for name in ("cpu", "cores")):
        raise UserError(
            f"the report beside is of {beside.machine['cores']} cores of {beside.machine['cpu']}, this machine has "
            f"{here['cores']} of {here['cpu']}; measure both on one machine"
        )
    if beside.settings["rounds"] != rounds:
        raise UserError(
            f"the report beside has medians of {beside.settings['rounds']} rounds, this run of {rounds}; "
            "give --quick to both or to none"
        )
    missing = [case for case in sorted(wanted) if case not in fastest(beside.rows)]
    if missing:
        model, batch = missing[0]
        raise UserError(
            f"the report beside has nothing of {model} at batch {batch}; have that run measure the same models as this one"
        )
    return [row for row in beside.rows if _case_of(row) in wanted]


def _case_of(row: Mapping[str, Any]) -> tuple[str, int]:
    return row["model"], row["batch"]


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


def compared(case: Case, rounds: int, contenders: Iterable[Contender]) -> list[dict[str, Any]]:
    """One row a framework and number of threads, or one that says why not; `speedup` is its median time over synfire's."""
    program, steps = ENGINES[ENGINE]().build(case.graph), case.steps

    def run() -> dict[str, Array]:
        return program.run(program.initial_state(case.batch), case.inputs, steps)[1]

    ours = run()
    others = entered(case.graph, case.inputs, contenders)
    times = in_turns({OURS: run, **others.calls}, rounds)
    ours_s = spread(times[OURS])["median_s"]
    about = {"model": case.model, "data": case.data, "batch": case.batch}
    rows = []
    for name, seconds in times.items():
        framework, _, threads = name.partition("/")
        theirs = ours if name == OURS else others.calls[name]()
        row = {**about, "framework": framework, "version": _version(framework), "threads": threads}
        rows.append(
            {**row, **spread(seconds), **agreement(ours, theirs), "speedup": spread(seconds)["median_s"] / ours_s}
        )
    return [
        *rows,
        *(
            {**about, "framework": name, "version": _version(name), "refused": why}
            for name, why in others.refused.items()
        ),
    ]


def _version(framework: str) -> str:
    return version(framework.partition(" ")[0])


def agreement(ours: Mapping[str, Array], theirs: Mapping[str, Array]) -> dict[str, float]:
    """How often the last step's highest score is the same, and the largest difference of any output."""
    name = next(iter(ours))
    same = np.mean(ours[name][-1].argmax(-1) == theirs[name][-1].argmax(-1))
    return {"same_predictions": float(same), "max_difference": float(np.abs(ours[name] - theirs[name]).max())}
