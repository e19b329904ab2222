"""A model over unlike devices: every operator in one stage, what is refused on the processor, and the reasons in words."""

from __future__ import annotations

import math
from collections import Counter
from functools import partial

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from synfire.base.errors import UserError
from synfire.devices import DEVICES, Cores
from synfire.graph import flatten
from synfire.graph.passes import simplify
from synfire.plan import Costs, Demand, plan_offloaded, rooms
from synfire.plan.place import DoesNotFit, Room
from synfire.testing.graphs import random_graph
from synfire.zoo import load

FAMILIES = ["svgg-digits", "sresnet-digits", "scnn-digits", "srnn-digits", "sgnn-digits", "stransformer-digits"]


def offloaded(graph, workers=2, refused=None):
    refused = DEVICES["darwin3"].refusals(graph) if refused is None else refused
    return plan_offloaded(Demand("m", graph, Costs(steps=graph.steps or 4)), rooms(workers), "darwin3", refused)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_neurons_on_the_chip(name):
    graph = simplify(flatten(load(name)))
    plan = offloaded(graph)
    assert sorted(each for stage in plan.stages for each in stage.operators) == sorted(graph.order())
    refused = DEVICES["darwin3"].refusals(graph)
    there = [stage for stage in plan.stages if stage.engine == "darwin3"]
    assert there
    assert not {each for stage in there for each in stage.operators} & set(refused)
    assert {stage.worker for stage in there} == {"worker-1"}
    assert {plan.engine_of(stage) for stage in plan.stages} == {"cpu", "darwin3"}


def test_attention_parts_the_chip_and_says_why():
    plan = offloaded(simplify(flatten(load("stransformer-digits"))))
    assert [bool(stage.engine) for stage in plan.stages] == [False, True, False, True, False]
    said = "\n".join(plan.reasons)
    assert "blocks.0.attn.attention stays on cpu: it multiplies signals by each other" in said
    assert "there is no neuron between it and what darwin3 refuses" in said


def test_stages_of_the_device_take_turns_on_the_other_workers():
    plan = offloaded(simplify(flatten(load("stransformer-digits"))), workers=3)
    assert [stage.worker for stage in plan.stages] == ["worker-0", "worker-1", "worker-0", "worker-2", "worker-0"]


def test_one_worker_holds_all():
    assert {stage.worker for stage in offloaded(simplify(flatten(load("svgg-digits"))), workers=1).stages} == {
        "worker-0"
    }


@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_whatever_is_refused_each_operator_is_in_one_stage_and_stages_follow_the_graph(seed, share):
    graph = random_graph(seed)
    order = list(graph.order())
    refused = {name: "no" for i, name in enumerate(order) if (seed >> (i % 30)) % 10 < share * 10}
    try:
        plan = offloaded(graph, refused=refused)
    except UserError:
        assume(False)
    place = {name: i for i, stage in enumerate(plan.stages) for name in stage.operators}
    assert sorted(place) == sorted(order)
    for synapse in graph.synapses:
        if not synapse.delay_steps and synapse.source in place:
            assert place[synapse.source] <= place[synapse.target]


def test_a_worker_that_may_hold_too_little_is_named_with_what_it_lacks():
    graph = simplify(flatten(load("svgg-digits")))
    demand = Demand("m", graph, Costs(steps=graph.steps or 4))
    refused = DEVICES["darwin3"].refusals(graph)
    needed = Counter[str]()
    for each in plan_offloaded(demand, rooms(2), "darwin3", refused).stages:
        needed[each.worker] += each.memory_bytes
    fullest, enough = needed.most_common(1)[0]
    assert plan_offloaded(demand, rooms(2, enough), "darwin3", refused)
    with pytest.raises(DoesNotFit, match=rf"{fullest} need .*raise the workers' limit, or add workers"):
        plan_offloaded(demand, rooms(2, enough - 1), "darwin3", refused)


def test_a_model_that_the_device_takes_nothing_of_is_refused():
    graph = simplify(flatten(load("svgg-digits")))
    with pytest.raises(UserError, match="darwin3 can run none of its neurons; the first reason: encoder: no"):
        offloaded(graph, refused=dict.fromkeys(graph.order(), "no"))


def test_what_is_to_be_known_of_operators_on_the_device_is_a_reason():
    graph = simplify(flatten(load("svgg-digits")))
    first, *_, last = graph.order()
    demand = Demand("m", graph, Costs(steps=4))
    plan = plan_offloaded(demand, rooms(2), "cuda", {first: "no"}, {last: "runs on the host", first: "is not there"})
    assert f"{last} runs on the host" in plan.reasons
    assert f"{first} is not there" not in plan.reasons


def with_cores(*limits, need=None):
    """The two stages of a transformer that go to a chip, on workers that may use so many cores of one; the first has none."""
    graph, device = simplify(flatten(load("stransformer-digits"))), DEVICES["darwin3"]
    workers = [Room(f"worker-{n}", cores=limit) for n, limit in enumerate((None, *limits))]
    demand = Demand("m", graph, Costs(steps=4))
    cores = device.cores if need is None else lambda _: need
    return plan_offloaded(demand, workers, "darwin3", device.refusals(graph), cores=cores)


def test_what_a_stage_takes_of_the_chip_is_part_of_the_plan():
    plan = with_cores(Cores(575, 287))
    assert [stage.cores for stage in plan.stages] == [None, Cores(3), None, Cores(6), None]


def test_stages_go_in_turn_to_workers_that_have_the_cores_for_them():
    assert [stage.worker for stage in with_cores(Cores(9), Cores(9)).stages][1::2] == ["worker-1", "worker-2"]
    assert [stage.worker for stage in with_cores(Cores(9), Cores(5)).stages][1::2] == ["worker-1", "worker-1"]
    assert [stage.worker for stage in with_cores(Cores(2), Cores(9)).stages][1::2] == ["worker-2", "worker-2"]


def with_events(*limits, rate, density=0.5):
    """The stages of `with_cores` on workers whose chips bear so many KEPS, for so many requests a second."""
    graph, device = simplify(flatten(load("stransformer-digits"))), DEVICES["darwin3"]
    workers = [
        Room("worker-0"),
        *(Room(f"worker-{n}", cores=Cores(575, 287, each)) for n, each in enumerate(limits, 1)),
    ]
    demand = Demand("m", graph, Costs(steps=4), rate=rate)
    shares = dict.fromkeys(graph.signals(), density)
    events = partial(device.events, density=shares)
    return plan_offloaded(demand, workers, "darwin3", device.refusals(graph), cores=device.cores, events=events)


def test_a_plan_tells_the_events_of_a_request_and_asks_for_those_of_its_rate():
    plan, idle = with_events(None, rate=20.0), with_events(None, rate=0.0)
    chips = [stage for stage in plan.stages if stage.engine]
    assert [each.events for each in chips] == [each.events for each in idle.stages if each.engine]
    assert [plan.need(each).keps for each in chips] == [math.ceil(20 * each.events / 1000) for each in chips]
    assert all(type(each.events) is float and each.events > 1000 for each in chips)
    first = chips[0]
    assert (
        f"{first.name} asks for {plan.need(first).keps} KEPS: 20 requests a second, each of {first.events:.0f} events"
        in plan.reasons
    )
    assert not any("KEPS" in each for each in idle.reasons)
    assert {idle.need(each).keps for each in idle.stages if each.engine} == {None}
    assert not any(each.events for each in plan.stages if not each.engine)


def test_stages_go_in_turn_to_workers_that_bear_their_events():
    first, second = (
        each.keps for each in map(with_events(None, rate=20.0).need, with_events(None, rate=20.0).stages) if each
    )
    placed = {
        limits: [stage.worker for stage in with_events(*limits, rate=20.0).stages][1::2]
        for limits in ((first, second), (first + second, second - 1), (first, None))
    }
    assert placed == {
        (first, second): ["worker-1", "worker-2"],
        (first + second, second - 1): ["worker-1", "worker-1"],
        (first, None): ["worker-1", "worker-2"],
    }
    with pytest.raises(
        UserError,
        match=rf"takes 6 cores and {second} KEPS, and no worker has so much left: worker-1 572 cores .* and {second - 1} KEPS; .*lower its rate",
    ):
        with_events(first + second - 1, rate=20.0)


def test_a_stage_that_no_worker_has_the_cores_for_is_named_with_what_they_have_left():
    with pytest.raises(
        UserError, match=r"takes 6 cores, and no worker has so much left: worker-1 5 cores; add workers"
    ):
        with_cores(Cores(8))
    with pytest.raises(UserError, match=r"takes 2 cores \(1 large\), .*worker-1 9 cores; add workers"):
        with_cores(Cores(9), need=Cores(2, 1))
