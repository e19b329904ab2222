"""However a model is cut, placed, framed and batched, its answers are the whole model's, bit for bit."""

from __future__ import annotations

import asyncio

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from synfire.gateway.call import Call
from synfire.gateway.route import WorkerRoute
from synfire.graph import reference
from synfire.testing.cluster import Cluster
from synfire.testing.graphs import random_graph, random_inputs, random_plan
from synfire.worker.settings import Settings

SEEDS = st.integers(0, 2**32 - 1)


async def collect(route: WorkerRoute, call: Call) -> dict[str, np.ndarray]:
    """All outputs of one call, over all of its steps."""
    parts = [part async for part in route.answer(call)]
    assert parts[-1].last
    assert not any(part.last for part in parts[:-1])
    signals = route.graph.output_signals()
    return {
        name: np.concatenate([part.outputs[name] for part in parts]) if signal.timed else parts[0].outputs[name]
        for name, signal in signals.items()
    }


def whole(graph, inputs, steps):
    emitted = reference.trace(graph, inputs, graph.steps or steps).emitted
    return {name: emitted[source] for name, source in graph.outputs.items()}


def assert_same(got, wanted):
    assert got.keys() == wanted.keys()
    for name in wanted:
        assert got[name].dtype == wanted[name].dtype
        assert got[name].tobytes() == np.ascontiguousarray(wanted[name]).tobytes(), name
        assert got[name].shape == wanted[name].shape


@given(SEEDS, st.integers(1, 3), st.booleans(), st.sampled_from([1, 2, 64]), st.sampled_from([1, 2, 16]))
@settings(max_examples=60, deadline=None)
def test_cut_and_placed_model_answers_as_the_whole(seed, workers, encode, max_batch, window):
    graph = random_graph(seed)
    plan = random_plan(graph, seed + 1, workers)
    rng = np.random.default_rng(seed)
    calls = [
        Call(str(i), "m", random_inputs(graph, seed + i, int(rng.integers(1, 4)), int(rng.integers(1, 9))))
        for i in range(int(rng.integers(1, 5)))
    ]

    async def main():
        async with Cluster(
            {"m": (graph, plan)}, seed, Settings(max_batch=max_batch), encode=encode, window=window
        ) as cluster:
            answers = await asyncio.gather(*(collect(cluster.routes["m"], call) for call in calls))
            await cluster.settle()
            assert cluster.quiet
            return answers

    for call, answer in zip(calls, asyncio.run(main()), strict=True):
        timed = [a.shape[0] for name, a in call.inputs.items() if graph.inputs[name].timed]
        assert_same(answer, whole(graph, call.inputs, timed[0] if timed else None))
