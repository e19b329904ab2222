"""Sessions and failures in a cluster: state goes where it belongs, and nowhere else."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synfire.base.errors import DeadlineExceeded, Interrupted, Overloaded, TemporaryError, UserError
from synfire.engines import ENGINES
from synfire.gateway.call import Call
from synfire.graph import Graph, Synapse, reference
from synfire.ops import Clock, Kind, Signal
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.testing.cluster import Cluster
from synfire.testing.graphs import plan_of, random_graph, random_inputs, random_plan
from synfire.wire.messages import Restore
from synfire.worker.settings import Settings

SEEDS = st.integers(0, 2**32 - 1)


async def collect(route, call):
    """All outputs of one call, over all of its steps."""
    parts = [part async for part in route.answer(call)]
    return {name: np.concatenate([part.outputs[name] for part in parts]) for name in parts[0].outputs}


def chain(workers=("w0", "w1", "w0"), frame_steps=1):
    """Three linear layers with neurons, on the step clock, a stage each."""
    rng = np.random.default_rng(3)

    def linear():
        return Linear(rng.normal(size=(4, 4)).astype(np.float32), np.full(4, 0.3, np.float32))

    operators = {"l0": linear(), "n0": LIF(), "l1": linear(), "n1": LIF(), "l2": linear(), "n2": LIF()}
    names = list(operators)
    synapses = tuple(Synapse(a, b) for a, b in zip(["x", *names], names, strict=False))
    graph = Graph(operators, synapses, {"x": Signal((4,), Kind.VALUE, Clock.STEP)}, {"y": "n2"})
    groups = [("l0", "n0"), ("l1", "n1"), ("l2", "n2")]
    return graph, plan_of(graph, groups, list(workers), frame_steps)


def values(seed, steps, batch=1):
    return {"x": np.random.default_rng(seed).uniform(0, 2, (steps, batch, 4)).astype(np.float32)}


def in_cluster(test, model, **options):
    async def main():
        async with Cluster({"m": model}, **options) as cluster:
            await test(cluster, cluster.routes["m"])
            await cluster.settle()
            assert cluster.quiet

    asyncio.run(main())


@pytest.mark.slow
@given(SEEDS, st.integers(1, 3), st.sampled_from([1, 64]))
@settings(max_examples=40, deadline=None)
def test_interleaved_sessions_go_on_each_from_its_own_state(seed, workers, max_batch):
    graph = random_graph(seed)
    plan = random_plan(graph, seed + 1, workers)
    rng = np.random.default_rng(seed)
    program = ENGINES["reference"]().build(graph)
    batches = [int(rng.integers(1, 3)) for _ in range(3)]
    calls = {
        f"s{i}": [random_inputs(graph, seed + 10 * i + j, batch, int(rng.integers(1, 7))) for j in range(3)]
        for i, batch in enumerate(batches)
    }

    def expected(name):
        state, answers = program.initial_state(batches[int(name[1])]), []
        for inputs in calls[name]:
            steps = graph.steps or next(inputs[n].shape[0] for n, s in graph.inputs.items() if s.timed)
            state, outputs = program.run(state, inputs, steps)
            answers.append(outputs)
        return answers

    async def main():
        async with Cluster({"m": (graph, plan)}, seed, Settings(max_batch=max_batch)) as cluster:

            async def session(name):
                answers = []
                for j, inputs in enumerate(calls[name]):
                    call = Call(f"{name}-{j}", "m", inputs, name, start=j == 0, end=j == 2)
                    answers.append([part async for part in cluster.routes["m"].answer(call)])
                return answers

            answers = await asyncio.gather(*(session(name) for name in calls))
            await cluster.settle()
            assert cluster.quiet
            assert all(core.sessions == 0 for core in cluster.cores.values())
            return dict(zip(calls, answers, strict=True))

    for name, answers in asyncio.run(main()).items():
        for parts, wanted in zip(answers, expected(name), strict=True):
            for output, array in wanted.items():
                timed = graph.output_signals()[output].timed
                got = np.concatenate([p.outputs[output] for p in parts]) if timed else parts[0].outputs[output]
                assert got.tobytes() == np.ascontiguousarray(array).tobytes()


def test_two_calls_of_a_session_sent_at_once_run_in_order():
    graph, plan = chain()
    inputs = values(1, 10)

    async def test(cluster, route):
        first = Call("1", "m", {"x": inputs["x"][:6]}, "s", start=True)
        second = Call("2", "m", {"x": inputs["x"][6:]}, "s", end=True)
        one, two = await asyncio.gather(collect(route, first), collect(route, second))
        got = np.concatenate([one["y"], two["y"]])
        assert got.tobytes() == reference.run(graph, inputs)["y"].tobytes()

    for seed in range(20):
        in_cluster(test, (graph, plan), seed=seed, window=1 + seed % 3)


def test_a_request_in_a_row_sees_nothing_of_the_one_before():
    graph, plan = chain()

    async def test(cluster, route):
        for seed in (1, 2, 1):
            got = await collect(route, Call("1", "m", values(seed, 7)))
            assert got["y"].tobytes() == reference.run(graph, values(seed, 7))["y"].tobytes()

    in_cluster(test, (graph, plan))


def test_session_that_never_began_is_refused_with_the_cure():
    async def test(cluster, route):
        with pytest.raises(UserError, match="sequence_start=true"):
            await collect(route, Call("1", "m", values(1, 3), "nobody"))

    in_cluster(test, chain())


def test_start_begins_a_session_afresh():
    graph, plan = chain()

    async def test(cluster, route):
        await collect(route, Call("1", "m", values(5, 9), "s", start=True))
        got = await collect(route, Call("2", "m", values(1, 7), "s", start=True, end=True))
        assert got["y"].tobytes() == reference.run(graph, values(1, 7))["y"].tobytes()

    in_cluster(test, (graph, plan))


def test_session_keeps_its_batch():
    async def test(cluster, route):
        await collect(route, Call("1", "m", values(1, 3, batch=2), "s", start=True))
        with pytest.raises(UserError, match="batch of 2"):
            await collect(route, Call("2", "m", values(1, 3, batch=1), "s"))

    in_cluster(test, chain())


def test_idle_session_is_forgotten():
    async def test(cluster, route):
        await collect(route, Call("1", "m", values(1, 3), "s", start=True))
        cluster.clock.advance(11)
        for core in cluster.cores.values():
            core.expire(cluster.clock.now_s())
            assert core.sessions == 0
        with pytest.raises(UserError, match="unused for too long"):
            await collect(route, Call("2", "m", values(1, 3), "s"))

    in_cluster(test, chain(), settings=Settings(session_idle_s=10))


@pytest.mark.parametrize("seed", range(10))
def test_closing_the_iterator_early_frees_the_state_everywhere(seed):
    async def test(cluster, route):
        parts = route.answer(Call("1", "m", values(1, 200), "s", start=True))
        assert (await anext(parts)).steps == 1
        await parts.aclose()
        await cluster.settle()
        assert cluster.quiet
        assert all(core.sessions == 0 for core in cluster.cores.values())

    in_cluster(test, chain(), seed=seed)


def test_slow_reader_bounds_what_waits_anywhere():
    most = []

    async def test(cluster, route):
        parts = route.answer(Call("1", "m", values(1, 300)))
        async for _ in parts:
            await cluster.settle()
            most.append(
                sum(
                    len(v.inbox[s])
                    for c in cluster.cores.values()
                    for r in c.requests.values()
                    for v in r.visits.values()
                    for s in v.inbox
                )
            )

    in_cluster(test, chain(), window=4)
    assert len(most) == 300
    assert max(most) <= 3 * 4


def test_deadline_cancels_the_call_everywhere():
    async def test(cluster, route):
        with pytest.raises(DeadlineExceeded, match="allow it more time"):
            await collect(route, Call("7", "m", values(1, 3), deadline_s=-1.0))
        await cluster.settle()
        assert cluster.quiet

    in_cluster(test, chain())


@pytest.mark.parametrize("seed", range(10))
def test_lost_worker_fails_calls_at_once_and_harms_no_other_model(seed):
    graph, plan = chain()
    other = plan_of(graph, [graph.order()], ["w2"], 2, "other")

    async def main():
        async with Cluster({"m": (graph, plan), "other": (graph, other)}, seed) as cluster:
            doomed = cluster.routes["m"].answer(Call("1", "m", values(1, 100)))
            safe = asyncio.create_task(collect(cluster.routes["other"], Call("2", "other", values(2, 50))))
            await anext(doomed)
            cluster.kill("w1")
            with pytest.raises(TemporaryError, match="w1"):
                async for _ in doomed:
                    pass
            with pytest.raises(TemporaryError, match="w1"):
                await collect(cluster.routes["m"], Call("3", "m", values(1, 1)))
            assert (await safe)["y"].tobytes() == reference.run(graph, values(2, 50))["y"].tobytes()
            await cluster.settle()
            assert cluster.quiet

    asyncio.run(main())


def test_engine_error_fails_its_request_alone():
    graph, plan = chain(("w0", "w0", "w0"), frame_steps=2)
    poison = np.float32(777)

    async def main():
        async with Cluster({"m": (graph, plan)}) as cluster:
            stage = cluster.cores["w0"].stages["model", "s0"]
            run = stage.program.run

            def fragile(state, inputs, steps):
                if (inputs["x"] == poison).any():
                    raise FloatingPointError("poisoned")
                return run(state, inputs, steps)

            stage.program.run = fragile
            bad = values(1, 4)
            bad["x"][0, 0, 0] = poison
            calls = [values(2, 4), bad, values(3, 4)]
            answers = await asyncio.gather(
                *(collect(cluster.routes["m"], Call(str(i), "m", x)) for i, x in enumerate(calls)),
                return_exceptions=True,
            )
            assert "poisoned" in str(answers[1])
            assert "report" in str(answers[1])
            for i in (0, 2):
                assert answers[i]["y"].tobytes() == reference.run(graph, calls[i])["y"].tobytes()
            await cluster.settle()
            assert cluster.quiet

    asyncio.run(main())


def test_worker_refuses_more_requests_than_it_may_hold():
    async def test(cluster, route):
        held = [route.answer(Call(str(i), "m", values(i, 50))) for i in range(2)]
        for each in held:
            await anext(each)
        with pytest.raises(Overloaded, match="max_requests=2"):
            await collect(route, Call("3", "m", values(1, 50)))
        for each in held:
            await each.aclose()

    in_cluster(test, chain(), settings=Settings(max_requests=2), window=2)


def test_frames_that_wait_are_bounded_in_bytes():
    async def test(cluster, route):
        with pytest.raises(Overloaded, match="inbox_bytes=100"):
            await collect(route, Call("1", "m", values(1, 1, batch=50)))

    in_cluster(test, chain(), settings=Settings(inbox_bytes=100))


def test_a_call_that_a_route_leads_to_an_unhosted_stage_is_interrupted_for_a_later_route():
    async def test(cluster, route):
        cluster.cores["w0"].unhost("model")
        with pytest.raises(Interrupted, match="is not on worker w0: the route has changed; try again"):
            await collect(route, Call("1", "m", values(1, 1)))

    in_cluster(test, chain())


def test_restoring_a_session_at_an_unhosted_stage_is_interrupted_for_a_later_route():
    async def test(cluster, route):
        core = cluster.cores["w0"]
        stage = next(iter(core.stages.values())).name
        core.unhost("model")
        with pytest.raises(Interrupted, match="is not on worker w0: the route has changed; try again"):
            core.restore(Restore("model", stage, "session", 1), {}, 0.0)

    in_cluster(test, chain())


def test_unhosting_answers_what_is_in_flight():
    async def test(cluster, route):
        parts = route.answer(Call("1", "m", values(1, 100)))
        await anext(parts)
        cluster.cores["w1"].unhost("model")
        cluster.wake()
        with pytest.raises(TemporaryError, match="unloaded"):
            async for _ in parts:
                pass

    in_cluster(test, chain(), window=2)


@pytest.mark.parametrize(("wait_s", "max_batch", "waited_s"), [(0.5, 64, 0.5), (0.5, 4, 0.0), (0.0, 64, 0.0)])
def test_bounded_wait_gathers_a_batch_and_ends_when_it_is_full(wait_s, max_batch, waited_s):
    graph, plan = chain(("w0", "w0", "w0"), frame_steps=4)

    async def main():
        limits = Settings(batch_wait_s=wait_s, max_batch=max_batch)
        async with Cluster({"m": (graph, plan)}, settings=limits) as cluster:
            calls = [Call(str(i), "m", values(i, 4)) for i in range(4)]
            answers = await asyncio.gather(*(collect(cluster.routes["m"], call) for call in calls))
            for call, answer in zip(calls, answers, strict=True):
                assert answer["y"].tobytes() == reference.run(graph, call.inputs)["y"].tobytes()
            assert cluster.cores["w0"].stages["model", "s0"].tally.jobs == 1
            assert cluster.clock.now_s() == waited_s

    asyncio.run(main())
