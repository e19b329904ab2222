"""Where the stages of a variant go: where the model that it is a variant of has them, and what differs to a worker apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from synfire.base.errors import TemporaryError, UnknownName, UserError
from synfire.control import events
from synfire.control.apply import apply
from synfire.control.arrival import received
from synfire.control.decide import decide
from synfire.control.state import SPARE, State
from synfire.deploy.planned import Planned
from synfire.deploy.traffic import as_served, check_rule
from synfire.deploy.variants import base_of, placed, share_stages
from synfire.graph import Graph
from synfire.ops.lif import LIF
from synfire.plan import Demand, Plan, assumed, plan_cut
from synfire.testing.simulation.models import SHAPES, graph_of
from synfire.wire.traffic import rule_of
from synfire.wire.wish import Wish
from synfire.zoo import Model

GRAPH = graph_of("chain")


def changed(*names: str, threshold: float = 0.25) -> Graph:
    """The graph with other neurons in some places."""
    return replace(GRAPH, operators={**GRAPH.operators, **dict.fromkeys(names, LIF(threshold=threshold))})


NEURONS = next(name for name in reversed(GRAPH.order()) if isinstance(GRAPH.operator(name), LIF))
"""The last layer of neurons."""

FIRST = next(name for name in GRAPH.order() if isinstance(GRAPH.operator(name), LIF))


def planned(name: str, *workers: str, graph: Graph = GRAPH) -> Planned:
    """A model in three stages, each on one of the workers."""
    costs = assumed(graph)
    plan = plan_cut(Demand(name, graph, costs), SHAPES["chain"], workers)
    return Planned(Model(name, graph, "here"), graph, costs, plan)


def state_of(plan: Plan, *, spares: Sequence[str] = (), more: Sequence[str] = (), **settings: Any) -> State:
    """The model is served by the workers of its plan, all of which have joined; `more` have nothing to do, and `spares` stand by."""
    state = State(begins=False, **settings)
    for name in (*plan.workers, *more, *spares):
        role = SPARE if name in spares else "host"
        state = apply(state, events.WorkerReady(0.0, name, group=name, joined=True, role=role, memory_bytes=MEMORY))
    return apply(state, events.ModelAdded(0.0, plan, fresh=False))


MEMORY = 1 << 30
OLD = planned("net", "a", "b", "c").plan
OWN = next(each.name for each in OLD.stages if NEURONS in each.operators)
"""The stage that holds the last layer of neurons, on worker `home`."""

HOME = OLD.stage(OWN).worker


def places(plan: Plan) -> dict[str, str]:
    return {each.name: each.worker for each in plan.stages}


def test_what_differs_goes_to_who_has_nothing_to_do_and_the_rest_to_where_it_is() -> None:
    state = state_of(OLD, spares=["s"], more=["d"])
    found = placed(state, base_of(state, "net", "new"), "new#1", [NEURONS])
    assert places(found) == {**places(OLD), OWN: "d"}
    assert found.model == "new#1"
    arriving = received(state, found)
    assert (arriving.fresh, arriving.plan) == (False, found)


def test_a_busy_worker_takes_it_that_has_not_what_it_stands_for_and_no_spare_does() -> None:
    state = state_of(OLD, spares=["s"])
    target = places(placed(state, base_of(state, "net", "new"), "new", [NEURONS]))[OWN]
    assert target in {*OLD.workers} - {HOME}
    alone = planned("net", "a", "a", "a").plan
    state = state_of(alone, spares=["s"])
    assert set(places(placed(state, base_of(state, "net", "new"), "new", [NEURONS])).values()) == {"a"}


def test_where_nothing_differs_nothing_needs_a_place() -> None:
    state = state_of(OLD)
    assert places(placed(state, base_of(state, "net", "new"), "new", [])) == places(OLD)


def test_without_room_the_variant_waits_and_says_for_what() -> None:
    large = msgspec.structs.replace(
        OLD, stages=tuple(msgspec.structs.replace(each, memory_bytes=MEMORY) for each in OLD.stages)
    )
    state = state_of(large, spares=["s"])
    with pytest.raises(
        TemporaryError, match=rf"no worker has room for {OWN} of new, which it does not share with net; add"
    ):
        placed(state, base_of(state, "net", "new"), "new#1", [NEURONS])


def test_a_variant_waits_for_the_model_that_it_is_one_of() -> None:
    with pytest.raises(TemporaryError, match="new is to be a variant of net, which is not served; it comes as soon as"):
        base_of(State(begins=False), "net", "new")
    asleep = apply(state_of(OLD), events.Slept(1.0, "net", True))
    with pytest.raises(TemporaryError, match="new is to be a variant of net, which is on no workers now"):
        base_of(asleep, "net", "new")
    several = msgspec.structs.replace(OLD, model="net#2")
    state = apply(state_of(msgspec.structs.replace(OLD, model="net#1")), events.ModelAdded(1.0, several))
    assert base_of(state, "net", "new").name == "net#1"


def test_what_two_models_share_stays_together_when_its_worker_is_lost() -> None:
    state = state_of(OLD, spares=["s", "t"], more=["d"])
    plan = placed(state, base_of(state, "net", "new"), "new", [NEURONS])
    state = apply(state, events.ModelAdded(1.0, plan))
    other = next(each for each in OLD.stages if each.name != OWN and each.worker != HOME)
    state = apply(state, events.WorkerLost(2.0, other.worker, "exit", 2.0))
    first, second = (places(state.models[name].plan) for name in ("net", "new"))
    assert first[other.name] == second[other.name] not in ("", other.worker)
    assert {name for name in first if first[name] != second[name]} == {OWN}
    assert decide(state)


def test_models_that_begin_share_stages_where_their_rule_names_the_operators() -> None:
    old, new = (
        planned("net@1", "worker-0", "worker-1", "worker-2"),
        planned("net@2", *["worker-2"] * 3, graph=changed(NEURONS)),
    )
    rule = rule_of("net", ["net@1=90", "net@2=10"], None, [NEURONS])
    first, second = share_stages([old, new], [rule], 4)
    assert first == old
    assert places(second.plan) == {**places(old.plan), OWN: "worker-3"}
    assert (second.model, second.graph) == (new.model, new.graph)
    assert share_stages([old, new], [msgspec.structs.replace(rule, operators=())], 4) == (old, new)
    (_, crowded) = share_stages([old, new], [rule], 3)
    assert places(crowded.plan)[OWN] != places(old.plan)[OWN]


def test_a_rule_that_names_operators_is_checked_against_the_models() -> None:
    graphs = {"net@1": GRAPH, "net@2": changed(NEURONS), "net@3": changed(NEURONS, FIRST)}
    rule = rule_of("net", ["net@1=90", "net@2=10"], "net@3", [NEURONS])
    with pytest.raises(UserError, match=rf"net@3 differs from net@1 in {FIRST}, and not in {NEURONS} alone"):
        check_rule(rule, graphs.__getitem__)
    check_rule(msgspec.structs.replace(rule, operators=(FIRST, NEURONS)), graphs.__getitem__)
    with pytest.raises(UnknownName, match="no operator of net@1 named 'nothing'"):
        check_rule(rule_of("net", ["net@1"], None, ["nothing"]), graphs.__getitem__)
    assert as_served(rule, dict.fromkeys(graphs, "1")) == rule


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (Wish("new", variant_of="new"), "a variant of itself"),
        (Wish("new", variant_of="net", granularity="operator"), "leave out granularity, workers, apart"),
        (Wish("new", variant_of="net", replicas=2), "placed as that is, once"),
        (Wish("new", variant_of="net", memory="1GiB"), "placed as that is"),
    ],
)
def test_what_the_other_model_decides_is_not_asked_of_a_variant(wish: Wish, said: str) -> None:
    with pytest.raises(UserError, match=said):
        wish.check("new", ["auto", "operator"], ["cpu"])
    Wish("new", variant_of="net", priority=3, context=7).check("new", ["auto"], ["cpu"])
