"""Whether plans come true: predicted against measured latency, and `auto` against all other cuts."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from synfire.bench.benchmark import BENCHMARKS, Benchmark, Progress, Report, Settings, floor, report, spread
from synfire.bench.exhaustive import WORKERS, best_of_all
from synfire.bench.load import Job, infer_request, measure
from synfire.deploy.planned import Planned
from synfire.deploy.planning import ENGINE, plan_models
from synfire.deploy.prices import NARROW, WIDE, Trial, load_of, prices, prices_of, trials_of
from synfire.deploy.serving import serving_in_background
from synfire.engines.engine import ENGINES
from synfire.engines.measure import measure as measure_operators
from synfire.graph import Graph
from synfire.ops import Array
from synfire.plan import Costs, Demand, Hop, Plan, atoms, plan_cut, plan_model, predict, rooms
from synfire.plan.cut import join
from synfire.wire.batch_axis import batch_first
from synfire.zoo import Model, load, names, sample

UNCUT, AUTO = ("model", 1, False), ("auto", 2, False)
CUTS = (UNCUT, AUTO, ("block", 2, False), ("operator", 2, False), ("operator", 1, True), ("operator", 2, True))
"""Granularity, workers, and whether all stages are kept apart."""
EVERY_CUT = ("scnn-digits", "sgnn-digits", "srnn-spoken")
"""Models of which every cut in two is served, too."""
HEAVIER = (1.0, 10.0)
"""Operators so many times as slow, so that the search has cuts to find; one of them is as measured."""
ROUNDS = 96
"""How often each cut, and each trial that tells what hops cost, is asked in a spell."""
SPELLS = 5
"""How often operators and hops are measured anew while a model is served."""
PARTS = 4
"""In so many parts a spell's calls come, with the operators measured before each: what they take a moment later may be half as much again."""
FEW_ATOMS = 13
"""Models of more are searched as measured only: there are 2 to the power of that many cuts."""


class Plans(Benchmark):
    """Every model of the zoo is planned, served and asked in turns, and its planner is held against a search of all cuts.

    What hops and operators cost is measured at the beginning, as the first `synfire serve` on a machine does, and decides the cuts.
    It is measured again in every spell: operators before the calls, and hops by the trials of `synfire.deploy.prices`, which are served
    beside the model and asked in the same turns as its cuts. A machine that many share changes its speed within seconds, and
    then prices of one second say little of the calls of the next. A row says by `what` it is: the latency of a `served` cut, the `search`
    for a better one on two workers by predicted seconds, or, where `auto` does not cut, what one plan's errors differ by when it is served
    `twice`, under two names: what no prediction can be better than on the machine at hand.
    """

    name = "plan"
    about = "predicted against measured latency, and auto against the best of all cuts"

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(names())

    def measure(self, settings: Settings, progress: Progress) -> Report:
        models = list(settings.only or (["svgg-digits"] if settings.quick else names()))
        rounds, spells = (5, 1) if settings.quick else (ROUNDS, SPELLS)
        progress("prices")
        hop = prices(again=not settings.quick)
        rows: list[dict[str, Any]] = []
        for model in models:
            progress(model)
            served = _served(model, hop, rounds, spells, model in EVERY_CUT)
            rows += [*served, *_twice(served)]
            rows += _searched(model, hop, HEAVIER[:1] if settings.quick else HEAVIER)
        details = {"models": models, "rounds": rounds, "spells": spells, "prices": msgspec.to_builtins(hop)}
        return report(self.name, settings, details, rows, _floors(rows))


BENCHMARKS.add(Plans.name, Plans())


def _floors(rows: Sequence[dict[str, Any]]) -> list[Any]:
    """Stages that are kept apart on purpose are shown, and count for none of these: no plan makes them unasked."""
    served = [row for row in rows if row["what"] == "served" and not row["apart"]]
    ratios = [row["auto_ratio"] for row in rows if row["what"] == "search"]
    measured = [
        next(row["median_s"] for row in mine if row["auto"]) / min(row["median_s"] for row in mine)
        for mine in ([row for row in served if row["model"] == model] for model in {row["model"] for row in served})
    ]
    return [
        floor("plan_prediction_error", "<=", 0.2, max(abs(row["error"]) for row in served)),
        floor("plan_auto_ratio", "<=", 1.05, max(ratios)),
        floor("plan_auto_measured_ratio", "<=", 1.05, max(measured)),
    ]


def _served(model: str, hop: Hop, rounds: int, spells: int, every_cut: bool) -> list[dict[str, Any]]:
    """A row per cut, served under a name of its own beside all others and the trials, on the same two workers."""
    graph = load(model)
    cuts: dict[str, Planned] = {}
    for granularity, workers, apart in CUTS:
        name = f"{granularity}-{workers}{'-apart' if apart else ''}"
        (cuts[name],) = plan_models([Model(name, graph, model)], granularity, workers, apart=apart, hop=hop)
    auto = cuts["auto-2"]
    cuts |= _in_two(auto) if every_cut else {}
    inputs, trials = sample(graph), _trials()
    with serving_in_background([*cuts.values(), *(each.planned for each in trials.values())]) as running:
        url = running.addresses.url
        asked = dict.fromkeys(cuts, (graph, inputs))
        asked |= {name: (each.load.graph, each.load.inputs) for name, each in trials.items()}
        requests = {
            name: infer_request(url, name, batch_first(of.inputs, given)) for name, (of, given) in asked.items()
        }
        turns = [_spell(auto.graph, inputs, Job(url=url, requests=requests, rounds=rounds)) for _ in range(spells)]
    return [_row(model, name, each, name == auto.model.name, turns) for name, each in cuts.items()]


def _trials() -> dict[str, Trial]:
    """What tells the prices of hops, its operators measured now."""
    return trials_of(load_of(NARROW), load_of(WIDE))


def _spell(graph: Graph, inputs: dict[str, Array], job: Job) -> tuple[Costs, Mapping[str, list[float]]]:
    """What the model's operators and hops cost now, and the seconds of all calls."""
    trials, costs, turns = _trials(), [], dict[str, list[float]]()
    for part in range(PARTS):
        costs.append(measure_operators(graph, ENGINES[ENGINE](), inputs))
        found = measure(msgspec.structs.replace(job, rounds=-(-job.rounds // PARTS), seed=part)).turns
        turns = {name: turns.get(name, []) + seconds for name, seconds in found.items()}
    hop = prices_of({name: statistics.median(turns[name]) for name in trials}, trials)
    return msgspec.structs.replace(_typical(costs), hop=hop), turns


def _typical(costs: Sequence[Costs]) -> Costs:
    """The median of what was measured of each operator."""
    operator_s = {name: statistics.median(each.operator_s[name] for each in costs) for name in costs[0].operator_s}
    return msgspec.structs.replace(
        costs[0], operator_s=operator_s, call_s=statistics.median(each.call_s for each in costs)
    )


def _row(
    model: str, name: str, planned: Planned, auto: bool, turns: Sequence[tuple[Costs, Mapping[str, list[float]]]]
) -> dict[str, Any]:
    """A cut's latency, what was predicted, and the median error of the spells, each of which has costs and a median of its own."""
    groups, workers = zip(*((stage.operators, stage.worker) for stage in planned.plan.stages), strict=True)
    predicted = [
        predict(planned.graph, groups, workers, costs, planned.plan.frame_steps).latency_s for costs, _ in turns
    ]
    found = [statistics.median(taken[name]) for _, taken in turns]
    errors = [p / s - 1 for p, s in zip(predicted, found, strict=True)]
    return {
        "what": "served",
        "model": model,
        "cut": name,
        "apart": name.endswith("-apart"),
        "auto": auto,
        "stages": len(planned.plan.stages),
        "frame_steps": planned.plan.frame_steps,
        **spread([seconds for _, taken in turns for seconds in taken[name]]),
        "predicted_s": statistics.median(predicted),
        "error": statistics.median(errors),
        "errors": errors,
    }


def _twice(served: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row where the model uncut and `auto` are the same plan."""
    uncut, auto = (next(row for row in served if row["cut"] == f"{cut}-{workers}") for cut, workers, _ in (UNCUT, AUTO))
    if auto["stages"] > 1 or auto["frame_steps"] != uncut["frame_steps"]:
        return []
    return [{"what": "twice", "model": uncut["model"], "stages": 1, "error": abs(uncut["error"] - auto["error"])}]


def _in_two(planned: Planned) -> dict[str, Planned]:
    """The model cut behind each of its atoms."""
    fine, found = atoms(planned.graph), {}
    for at in range(1, len(fine)):
        groups = (join(fine[:at]), join(fine[at:]))
        name = f"behind-{at}"
        plan = plan_cut(Demand(name, planned.graph, planned.costs), groups, WORKERS)
        found[name] = Planned(
            Model(name, planned.model.graph, planned.model.source), planned.graph, planned.costs, plan
        )
    return found


def _searched(model: str, hop: Hop, heavier: Sequence[float]) -> list[dict[str, Any]]:
    """A row for each objective, and for operators that are so many times as slow."""
    (planned,) = plan_models([Model(model, load(model), "zoo")], "auto", len(WORKERS), hop=hop)
    few = len(atoms(planned.graph)) <= FEW_ATOMS
    return [
        _search(planned, factor, objective)
        for factor, objective in itertools.product(heavier if few else heavier[:1], ("latency", "throughput"))
    ]


def _search(planned: Planned, factor: float, objective: str) -> dict[str, Any]:
    slower = {name: factor * seconds for name, seconds in planned.costs.operator_s.items()}
    costs: Costs = msgspec.structs.replace(planned.costs, operator_s=slower)
    demand = Demand(planned.model.name, planned.graph, costs, objective=objective)
    auto = plan_model(demand, rooms(len(WORKERS)))
    best, found_s = best_of_all(planned.graph, costs, objective), _wanted(auto, objective)
    return {
        "what": "search",
        "model": planned.model.name,
        "objective": objective,
        "heavier": factor,
        "auto_stages": len(auto.stages),
        "best_stages": len(best.groups),
        "looked_at": best.looked_at,
        "auto_s": found_s,
        "best_s": best.seconds,
        "auto_ratio": found_s / best.seconds,
    }


def _wanted(plan: Plan, objective: str) -> float:
    return plan.latency_s if objective == "latency" else 1 / plan.requests_s
