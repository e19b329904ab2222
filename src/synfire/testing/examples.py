"""Small models in two stages with calls of them, for tests of what runs stages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from synfire.gateway.call import Call, Route
from synfire.graph import Graph, Synapse
from synfire.ops import Array, Clock, Kind, Signal
from synfire.ops.constant_current import ConstantCurrent
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.ops.mean_rate import MeanRate
from synfire.plan import Plan
from synfire.testing.graphs import plan_of


def digits(model: str = "digits", workers: Sequence[str] = ("w0", "w1"), steps: int = 8) -> tuple[Graph, Plan]:
    """A classifier of 16 values in two stages."""
    rng = np.random.default_rng(0)

    def linear(inputs: int, outputs: int) -> Linear:
        return Linear(rng.normal(size=(outputs, inputs)).astype(np.float32), np.zeros(outputs, np.float32))

    operators = {
        "encode": ConstantCurrent(steps=steps),
        "l1": linear(16, 32),
        "n1": LIF(),
        "l2": linear(32, 10),
        "n2": LIF(),
        "rate": MeanRate(),
    }
    names = list(operators)
    synapses = tuple(Synapse(a, b) for a, b in zip(["x", *names], names, strict=False))
    graph = Graph(operators, synapses, {"x": Signal((16,), Kind.VALUE, Clock.REQUEST)}, {"y": "rate"})
    return graph, plan_of(graph, [("encode", "l1", "n1"), ("l2", "n2", "rate")], list(workers), 2, model)


def stream(workers: Sequence[str] = ("w0", "w1"), size: int = 4) -> tuple[Graph, Plan]:
    """Two stages on the step clock: a call may be as long as one likes."""
    rng = np.random.default_rng(1)
    weights = [rng.normal(size=(size, size)).astype(np.float32) for _ in range(2)]
    operators = {
        "l1": Linear(weights[0], np.full(size, 0.4, np.float32)),
        "n1": LIF(),
        "l2": Linear(weights[1], np.full(size, 0.4, np.float32)),
        "n2": LIF(),
    }
    names = list(operators)
    synapses = tuple(Synapse(a, b) for a, b in zip(["x", *names], names, strict=False))
    graph = Graph(operators, synapses, {"x": Signal((size,), Kind.VALUE, Clock.STEP)}, {"y": "n2"})
    return graph, plan_of(graph, [("l1", "n1"), ("l2", "n2")], list(workers), 1, "stream")


def currents(seed: int, steps: int, size: int = 4) -> dict[str, Array]:
    """An input of `stream`."""
    return {"x": np.random.default_rng(seed).uniform(0, 2, (steps, 1, size)).astype(np.float32)}


def image(seed: int, batch: int = 2) -> dict[str, Array]:
    """An input of `digits`."""
    return {"x": np.random.default_rng(seed).normal(size=(batch, 16)).astype(np.float32)}


async def collect(route: Route, call: Call) -> dict[str, Array]:
    """The whole answer, by output."""
    parts = [part async for part in route.answer(call)]
    return {name: np.concatenate([part.outputs[name] for part in parts]) for name in parts[0].outputs}
