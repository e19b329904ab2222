"""A plan becomes `Host` messages that say the same; a graph travels whole."""

from __future__ import annotations

import asyncio
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synfire.base.errors import DeadlineExceeded, UserError
from synfire.deploy.hosting import hostings
from synfire.formats.bundle import write_bundle
from synfire.gateway.call import Call
from synfire.gateway.local import LocalRoute, whole_plan
from synfire.graph import reference
from synfire.plan.replicas import along, groups
from synfire.testing.clock import FakeClock
from synfire.testing.graphs import in_several_places, random_graph, random_inputs, random_plan
from synfire.wire.graphs import pack_graph, unpack_graph
from synfire.wire.messages import Host, taken
from synfire.worker.builder import build

SEEDS = st.integers(0, 2**32 - 1)


@given(SEEDS)
@settings(max_examples=50, deadline=None)
def test_every_link_of_the_plan_is_told_to_both_ends(seed):
    graph = random_graph(seed)
    plan = random_plan(graph, seed)
    homes = {stage.name: stage.worker for stage in plan.stages}
    found = hostings(graph, plan, {worker: f"unix:/{worker}" for worker in plan.workers})
    arriving = {(a.sender, each.host.stage, s) for each in found for a in each.host.arrivals for s in a.sources}
    leaving = {(each.host.stage, d.receiver, s) for each in found for d in each.host.departures for s in d.sources}
    links = {(link.sender, link.receiver, link.source) for link in plan.links}
    assert arriving == {each for each in links if each[1] != "gateway"}
    assert leaving == {each for each in links if each[0] != "gateway"}
    for each in found:
        for departure in each.host.departures:
            receiver = departure.receiver
            local = receiver == "gateway" or homes[receiver] == each.worker
            assert departure.address == ("" if local else f"unix:/{homes[receiver]}")


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_graph_travels_whole(seed):
    graph = random_graph(seed)
    again = unpack_graph(pack_graph(graph))
    assert again.content_digest() == graph.content_digest()
    assert again.order() == graph.order()
    inputs = random_inputs(graph, seed, 1, 3)
    for name, array in reference.run(graph, inputs).items():
        assert reference.run(again, inputs)[name].tobytes() == array.tobytes()


def test_damaged_graph_is_refused_at_every_length():
    data = pack_graph(random_graph(1))
    for length in range(0, len(data), 7):
        with pytest.raises(UserError):
            unpack_graph(data[:length])


def test_a_worker_of_another_machine_is_told_where_it_finds_others():
    graph = random_graph(2)
    plan = random_plan(graph, 2)
    addresses = {worker: f"unix:/{worker}" for worker in plan.workers}
    assert len(plan.workers) > 1
    for far in plan.workers:
        outside = {far: {each: f"tls://10.0.0.1/{each}" for each in plan.workers if each != far}}
        for each in hostings(graph, plan, addresses, outside=outside):
            wanted = "tls:" if each.worker == far else "unix:"
            assert all(departure.address.startswith(wanted) for departure in each.host.departures if departure.address)


def one_stage(graph, **changes):
    (hosting,) = hostings(graph, whole_plan(graph, engine="reference"), {"w0": ""})
    fields = {name: getattr(hosting.host, name) for name in Host.__struct_fields__} | changes
    return Host(**fields), hosting.graph


def test_stage_of_a_bundle_is_built_from_the_folder(tmp_path):
    graph = random_graph(2)
    write_bundle(graph, tmp_path / "b")
    host, stage = one_stage(graph, bundle=str(tmp_path / "b"), operators=graph.order())
    assert build(host, b"").graph.content_digest() == stage.content_digest()


def test_stage_with_another_content_is_refused():
    host, _ = one_stage(random_graph(2), digest="0" * 64)
    with pytest.raises(UserError, match="plan the model again"):
        build(host, pack_graph(random_graph(3)))


def test_service_for_an_unknown_stage_is_refused():
    graph = random_graph(2)
    with pytest.raises(UserError, match="no stage 'nobody'"):
        hostings(graph, whole_plan(graph), {"w0": ""}, {"nobody": "http://x"})


def outputs(parts):
    return {name: np.concatenate([part.outputs[name] for part in parts]) for name in parts[0].outputs}


def in_route(graph, test, **options):
    async def main():
        route = LocalRoute(graph, engine="reference", **options)
        try:
            await test(route)
        finally:
            route.close()

    asyncio.run(main())


def timed_graph():
    """A random graph all of whose inputs and outputs are on the step clock."""
    return next(
        graph
        for graph in map(random_graph, range(1000))
        if all(s.timed for s in (*graph.inputs.values(), *graph.output_signals().values()))
    )


def test_local_route_answers_in_frames_and_keeps_sessions_apart():
    graph = timed_graph()
    inputs = {name: random_inputs(graph, name, 2, 9) for name in (1, 2)}
    plan = whole_plan(graph, engine="reference", frame_steps=2)

    async def test(route):
        got = {1: [], 2: []}
        for start in (0, 3, 6):
            for seed, array in inputs.items():
                part = {name: each[start : start + 3] for name, each in array.items()}
                call = Call("c", "m", part, f"s{seed}", start == 0, start == 6)
                got[seed] += [part async for part in route.answer(call)]
        for seed, array in inputs.items():
            wanted = reference.trace(graph, array).emitted
            for name, source in graph.outputs.items():
                assert outputs(got[seed])[name].tobytes() == wanted[source].tobytes()
        with pytest.raises(UserError, match="sequence_start=true"):
            await anext(route.answer(Call("c", "m", inputs[1], "s1")))

    in_route(graph, test, plan=plan)


def test_local_route_keeps_the_deadline():
    graph, clock = timed_graph(), FakeClock(10)

    async def test(route):
        call = Call("c", "m", random_inputs(graph, 1, 1, 9), deadline_s=11)
        parts = route.answer(call)
        await anext(parts)
        clock.advance(2)
        with pytest.raises(DeadlineExceeded, match="allow it more time"):
            await anext(parts)

    in_route(graph, test, plan=whole_plan(graph, engine="reference", frame_steps=2), clock=clock)


def test_inputs_that_disagree_on_their_steps_are_refused():
    graph = next(g for g in map(random_graph, range(1000)) if sum(s.timed for s in g.inputs.values()) == 2)

    async def test(route):
        inputs = random_inputs(graph, 1, 1, 4)
        name = next(iter(inputs))
        with pytest.raises(UserError, match="make them equal"):
            await anext(route.answer(Call("c", "m", {**inputs, name: inputs[name][:2]})))

    in_route(graph, test)


@given(SEEDS)
@settings(max_examples=50, deadline=None)
def test_both_ends_of_a_link_know_which_lanes_take_it(seed):
    graph = random_graph(seed)
    plan = in_several_places(random_plan(graph, seed), seed)
    found = hostings(graph, plan, {worker: f"unix:/{worker}" for worker in plan.workers})
    places = [range(len(group)) for group in groups(plan)]
    for lane in itertools.islice(itertools.product(*places), 20):
        chosen = along(plan, lane)
        links = {(link.sender, link.receiver, link.source) for link in chosen.links}
        here = [each.host for each in found if each.host.stage in {stage.name for stage in chosen.stages}]
        arriving = {
            (a.sender, each.stage, s) for each in here for a in each.arrivals if taken(a, lane) for s in a.sources
        }
        leaving = {
            (each.stage, d.receiver, s) for each in here for d in each.departures if taken(d, lane) for s in d.sources
        }
        assert arriving == {each for each in links if each[1] != "gateway"}
        assert leaving == {each for each in links if each[0] != "gateway"}
    digests = {each.host.stage: each.host.digest for each in found}
    assert all(len({digests[each.name] for each in group}) == 1 for group in groups(plan))
