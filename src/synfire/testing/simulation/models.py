"""The small models of the simulations, their inputs, and what they answer when nothing fails."""

from __future__ import annotations

import math
from collections.abc import Collection
from functools import cache

import msgspec
import numpy as np

from synfire.engines import ENGINES
from synfire.graph import Graph, Synapse
from synfire.ops import Array, Clock, Kind, Operator, Signal, State
from synfire.ops.add import Add
from synfire.ops.constant_current import ConstantCurrent
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.ops.mean_rate import MeanRate
from synfire.plan import Plan
from synfire.plan.parts import fuse
from synfire.plan.replicas import Range, ranged, replicated
from synfire.testing.graphs import plan_of, random_inputs

ENCODED_STEPS = 6

STAGE_BYTES = 1
"""What every stage takes of its worker's memory: workers' limits count stages."""

STAGE_S = 1e-3
"""How long every stage is said to keep its worker busy with a request, where stages are fused: then it may pay to split one."""

SHAPES: dict[str, tuple[tuple[str, ...], ...]] = {
    "chain": (("l0", "n0"), ("l1", "n1"), ("n2",)),
    "twin": (("l0", "n0"), ("n1", "rate")),
    "fork": (("a",), ("b",), ("sum", "n")),
    "encoded": (("enc",), ("l0", "n0"), ("rate",)),
}
"""The stages of each model, in the order of the graph. The first stages of `chain` and `twin` are the same."""


@cache
def graph_of(name: str) -> Graph:
    """One of the small models."""
    rng = np.random.default_rng(5)
    rate = name in ("twin", "encoded")

    def linear() -> Linear:
        return Linear(rng.normal(size=(3, 3)).astype(np.float32), np.full(3, 0.4, np.float32))

    if name == "fork":
        operators: dict[str, Operator | Graph] = {"a": LIF(), "b": LIF(tau=3.0), "sum": Add(), "n": LIF()}
        synapses = (
            Synapse("x", "a"),
            Synapse("x", "b"),
            Synapse("a", "sum", 0),
            Synapse("b", "sum", 1),
            Synapse("sum", "n"),
        )
        return Graph(operators, synapses, {"x": Signal((3,), Kind.VALUE, Clock.STEP)}, {"y": "n", "a": "a"})
    made: dict[str, Operator] = {
        "enc": ConstantCurrent(steps=ENCODED_STEPS),
        "l0": linear(),
        "n0": LIF(),
        "l1": linear(),
        "n1": LIF(),
        "n2": LIF(),
        "rate": MeanRate(),
    }
    chosen = [operator for stage in SHAPES[name] for operator in stage]
    clock = Clock.REQUEST if name == "encoded" else Clock.STEP
    return Graph(
        {each: made[each] for each in chosen},
        tuple(Synapse(a, b) for a, b in zip(["x", *chosen], chosen, strict=False)),
        {"x": Signal((3,), Kind.VALUE, clock)},
        {"y": chosen[-1]} | ({"spikes": chosen[-2]} if rate else {}),
    )


@cache
def model(name: str, workers: tuple[str, ...], frame_steps: int, fused: bool = False) -> tuple[Graph, Plan]:
    """A model, and its plan on these workers, one for each stage, or several, as in `w0+w1`, or up to three where there is much to do, as in
    `w0+w1/3`, or none after so many seconds without a call, as in `w0~0.5`; if `fused`, neighbours on one worker are one, and only what is by
    itself has replicas, or sleeps."""
    graph = graph_of(name)
    idle_s = [float(each.partition("~")[2] or math.inf) for each in workers]
    workers = tuple(each.partition("~")[0] for each in workers)
    homes = [tuple(each.partition("/")[0].split("+")) for each in workers]
    most = [int(each.partition("/")[2] or 0) for each in workers]
    plan = plan_of(graph, list(SHAPES[name]), [each[0] for each in homes], frame_steps, name)
    stages = tuple(
        msgspec.structs.replace(stage, memory_bytes=STAGE_BYTES, busy_s=STAGE_S if fused else 0.0)
        for stage in plan.stages
    )
    several = {stage.name: each for stage, each in zip(stages, homes, strict=True)}
    plan = msgspec.structs.replace(plan, stages=stages)
    plan = replicated(fuse(plan) if fused else plan, several)
    wanted = {
        stage.name: Range(len(each) if math.isinf(left_s) else 0, max(len(each), more), left_s)
        for stage, each, more, left_s in zip(stages, homes, most, idle_s, strict=True)
    }
    return graph, ranged(plan, wanted)


def memory_of(name: str, operators: Collection[str]) -> int:
    """What a stage of these operators takes."""
    return STAGE_BYTES * sum(each[0] in operators for each in SHAPES[name])


@cache
def inputs_of(name: str, seed: int, batch: int, steps: int) -> dict[str, Array]:
    """A request's inputs as the graph takes them."""
    return {key: array * 2 for key, array in random_inputs(graph_of(name), seed, batch, steps).items()}


@cache
def answers_of(calls: tuple[tuple[str, int, int, int], ...]) -> list[dict[str, Array]]:
    """What the reference engine answers to the calls of one session, or to one alone: all outputs over all steps.

    Each call is given as (model, seed of its inputs, batch, steps).
    """
    program = ENGINES["reference"]().build(graph_of(calls[0][0]))
    state: State = program.initial_state(calls[0][2])
    answers = []
    for name, seed, batch, steps in calls:
        state, outputs = program.run(state, inputs_of(name, seed, batch, steps), steps)
        answers.append(outputs)
    return answers
