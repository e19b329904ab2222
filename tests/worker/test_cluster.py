"""However a model is cut, placed, framed and batched, its answers are the whole model's, bit for bit."""

from __future__ import annotations

import asyncio

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from synfire.gateway.call import Call
from synfire.gateway.route import WorkerRoute
from synfire.graph import reference
from synfire.plan.replicas import groups, replicated
from synfire.testing.cluster import Cluster
from synfire.testing.graphs import in_several_places, random_graph, random_inputs, random_plan
from synfire.testing.simulation.models import inputs_of, model
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


def answers_as_the_whole(graph, plan, seed, most, settings, encode, window):
    """Fewer than `most` calls at once, each compared with the uncut model; and nothing is left of them."""
    rng = np.random.default_rng(seed)
    calls = [
        Call(str(i), "m", random_inputs(graph, seed + i, int(rng.integers(1, 4)), int(rng.integers(1, 9))))
        for i in range(int(rng.integers(1, most)))
    ]

    async def main():
        async with Cluster({"m": (graph, plan)}, seed, settings, encode=encode, window=window) as cluster:
            answers = await asyncio.gather(*(collect(cluster.routes["m"], call) for call in calls))
            await cluster.settle()
            assert cluster.quiet
            return answers

    for call, answer in zip(calls, asyncio.run(main()), strict=True):
        timed = [a.shape[0] for name, a in call.inputs.items() if graph.inputs[name].timed]
        assert_same(answer, whole(graph, call.inputs, timed[0] if timed else None))


@given(SEEDS, st.integers(1, 3), st.booleans(), st.sampled_from([1, 2, 64]), st.sampled_from([1, 2, 16]))
@settings(max_examples=60, deadline=None)
def test_cut_and_placed_model_answers_as_the_whole(seed, workers, encode, max_batch, window):
    graph = random_graph(seed)
    plan = random_plan(graph, seed + 1, workers)
    answers_as_the_whole(graph, plan, seed, 5, Settings(max_batch=max_batch), encode, window)


@given(SEEDS, st.booleans(), st.sampled_from([1, 2, 64]), st.sampled_from([1, 2, 16]))
@settings(max_examples=60, deadline=None)
def test_a_model_in_several_places_answers_as_the_whole(seed, encode, max_batch, window):
    graph = random_graph(seed)
    plan = in_several_places(random_plan(graph, seed + 1), seed)
    answers_as_the_whole(graph, plan, seed, 7, Settings(max_batch=max_batch), encode, window)


@given(SEEDS, st.integers(2, 5))
@settings(max_examples=30, deadline=None)
def test_a_session_in_several_places_answers_as_one_long_call(seed, count):
    graph, plan = model("fork", ("w0+w1", "w1+w2", "w2+w0"), 2)
    whole_call = inputs_of("fork", seed % 50, 1, 2 * count)
    wanted = whole(graph, whole_call, 2 * count)

    async def main():
        async with Cluster({"m": (graph, plan)}, seed) as cluster:
            others = [
                asyncio.ensure_future(collect(cluster.routes["m"], Call(f"o{n}", "m", inputs_of("fork", n, 1, 3))))
                for n in range(4)
            ]
            parts = []
            for n in range(count):
                part = {name: array[2 * n : 2 * n + 2] for name, array in whole_call.items()}
                call = Call(str(n), "m", part, "s", start=n == 0, end=n == count - 1)
                parts.append(await collect(cluster.routes["m"], call))
            await asyncio.gather(*others)
            await cluster.settle()
            assert cluster.quiet
            assert not any(core.sessions for core in cluster.cores.values())
        return parts

    parts = asyncio.run(main())
    assert_same({name: np.concatenate([part[name] for part in parts]) for name in wanted}, wanted)


def test_calls_that_come_together_are_shared_out():
    graph, plan = model("chain", ("w0", "w1", "w2"), 2)
    plan = replicated(plan, {"s1": ("w1", "w3", "w4")})
    assert len(groups(plan)) == 1

    async def main():
        async with Cluster({"m": (graph, plan)}, 3) as cluster:
            calls = [Call(str(n), "m", inputs_of("chain", n, 1, 4)) for n in range(12)]
            await asyncio.gather(*(collect(cluster.routes["m"], call) for call in calls))
            counts = {name: core.stages for name, core in cluster.cores.items()}
            return {
                (name, stage.host.stage): stage.tally.steps
                for name, stages in counts.items()
                for stage in stages.values()
            }

    done = asyncio.run(main())
    assert [done[each] for each in (("w1", "s1"), ("w3", "s1#2"), ("w4", "s1#3"))] == [16, 16, 16]
    assert done["w0", "s0"] == done["w2", "s2"] == 48


def test_a_call_goes_on_though_another_replica_is_gone():
    """Nobody heals here: what is left is a worker that no call has to go through."""
    graph, plan = model("chain", ("w0", "w1+w3", "w2"), 2)
    wanted = whole(graph, inputs_of("chain", 1, 1, 6), 6)

    async def main():
        async with Cluster({"m": (graph, plan)}, 5) as cluster:
            cluster.kill("w1")
            calls = [Call(str(n), "m", inputs_of("chain", 1, 1, 6)) for n in range(4)]
            return await asyncio.gather(*(collect(cluster.routes["m"], call) for call in calls))

    for got in asyncio.run(main()):
        assert_same(got, wanted)
