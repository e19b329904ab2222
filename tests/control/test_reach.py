"""Workers that live and do not reach each other: which stages go where, and that it comes to rest."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stories import plan, told, until_quiet

from synfire.control import events
from synfire.control.decide import decide
from synfire.control.losses import HOST_LOST, SEVERED, starting
from synfire.control.reach import HERE, SEVERED_S
from synfire.control.state import STARTS, State
from synfire.plan.plan import Link


def chain(model, *workers, size=0):
    """A chain of stages, each of which sends to the next."""
    found = plan(model, *workers, size=size)
    names = [stage.name for stage in found.stages]
    links = tuple(Link(source=one, sender=one, receiver=other) for one, other in pairwise(names))
    return msgspec.structs.replace(found, links=links)


def on_hosts(*plans, workers, room=None, **settings):
    """Workers on hosts, as `name: host`, and the models that they serve; each has `room` bytes."""
    state = State(memory_bytes=room, **settings)
    ready = (events.WorkerReady(0.0, name, group=host, memory_bytes=room) for name, host in workers.items())
    return told(state, *ready, *(events.ModelAdded(0.0, each) for each in plans))


def severed(state, worker, by, at_s=2.0):
    """The state after it was found out, and everything that follows was done."""
    return until_quiet(told(state, events.Severed(at_s, worker, by, at_s - 0.25)))[0]


def homes(state, model="m"):
    return [stage.worker for stage in state.models[model].plan.stages]


def whole(state):
    """No stage sends to one that its worker does not reach."""
    groups = {name: each.group or name for name, each in state.workers.items()}
    broken = {frozenset(ends) for ends in state.severed}
    return all(
        frozenset(groups[model.plan.stage(end).worker] for end in (link.sender, link.receiver)) not in broken
        for model in state.models.values()
        if not model.stopped
        for link in model.plan.links
    )


THREE = {"w0": "h0", "w1": "h1", "spare": "h2"}


def test_the_stage_that_cannot_be_reached_goes_to_a_worker_that_can():
    state = severed(on_hosts(chain("m", "w0", "w1"), workers=THREE), "w1", by="w0")
    assert homes(state) == ["w0", "spare"]
    assert set(state.workers) == set(THREE)  # nobody is lost


def test_it_is_recorded_who_cannot_reach_whom():
    state = on_hosts(chain("m", "w0", "w1"), workers=THREE)
    (recovery,) = told(state, events.Severed(2.0, "w1", "w0", 1.75)).recoveries
    assert (recovery.cause, recovery.lost, recovery.spare) == (SEVERED, "w1", "spare")
    assert (recovery.began_s, recovery.detected_s) == (1.75, 2.0)
    assert recovery.detail == "w0 on h0 cannot reach w1 on h1"


def test_a_report_about_who_is_gone_changes_nothing():
    state = on_hosts(chain("m", "w0", "w1"), workers=THREE)
    assert told(state, events.Severed(2.0, "w9", "w0", 1.75)) == state
    assert told(state, events.Severed(2.0, "w1", "w9", 1.75)) == state


def test_the_same_report_by_another_gateway_moves_nothing_again():
    state = severed(on_hosts(chain("m", "w0", "w1"), workers=THREE), "w1", by="w0")
    again = told(state, events.Severed(2.1, "w1", "w0", 1.85))
    assert (again.models, again.recoveries) == (state.models, ())


def test_other_models_between_the_same_hosts_move_at_once():
    state = on_hosts(chain("m", "w0", "w1"), chain("n", "v0", "v1"), workers={**THREE, "v0": "h0", "v1": "h1"})
    state = severed(state, "w1", by="w0")
    assert whole(state)
    assert homes(state, "n")[0] == "v0"
    assert homes(state, "n")[1] != "v1"


def test_models_that_send_nothing_between_them_stay():
    state = on_hosts(chain("m", "w0", "w1"), plan("n", "w1"), workers=THREE)
    assert homes(severed(state, "w1", by="w0"), "n") == ["w1"]


def test_nobody_takes_over_later_who_is_out_of_reach():
    state = severed(on_hosts(chain("m", "w0", "w1"), workers={**THREE, "other": "h3"}), "w1", by="w0")
    home = homes(state)[1]
    state, _ = until_quiet(told(state, events.WorkerLost(3.0, home, "exit", 3.0)))
    assert homes(state)[1] not in ("w1", home)


def test_who_reaches_nobody_gives_way():
    state = severed(on_hosts(chain("m", "w0", "w1"), workers=THREE), "w1", by="w0")
    state = severed(state, "spare", by="w0")
    assert homes(state)[1] == "spare"
    assert whole(state)


def test_without_a_spare_in_reach_the_model_is_gathered_on_one_host():
    state = on_hosts(chain("m", "w0", "w1", size=10), workers={"w0": "h0", "w1": "h1", "v1": "h1"}, room=10)
    state = severed(state, "w1", by="w0")
    assert set(homes(state)) == {"w1", "v1"}


def test_two_workers_without_hosts_stand_for_themselves():
    state = on_hosts(chain("m", "w0", "w1"), workers={"w0": "", "w1": "", "spare": ""})
    assert homes(severed(state, "w1", by="w0")) == ["w0", "spare"]


def test_two_workers_of_one_host_stand_for_themselves():
    state = on_hosts(chain("m", "w0", "w1"), workers={"w0": "h0", "w1": "h0", "spare": "h0"})
    assert homes(severed(state, "w1", by="w0")) == ["w0", "spare"]


def test_where_nothing_helps_the_model_is_stopped_with_the_reason_and_comes_back_when_it_is_tried_again():
    state = on_hosts(chain("m", "w0", "w1", size=10), workers={"w0": "h0", "w1": "h1"}, room=10, most_workers=2)
    state = severed(state, "w1", by="w0")
    assert state.models["m"].stopped
    assert "nothing passes between h1 and h0: mend the network" in state.models["m"].failure
    state, _ = until_quiet(told(state, events.Retry(2.0 + SEVERED_S / 2)))
    assert state.models["m"].stopped
    state, _ = until_quiet(told(state, events.Retry(2.0 + SEVERED_S)))
    assert not state.models["m"].failure
    assert homes(state) == ["w0", "w1"]


def test_workers_are_not_started_for_ever_where_none_of_them_is_in_reach():
    state = on_hosts(chain("m", "w0", "w1", size=10), workers={"w0": "h0", "w1": "h1"}, room=10)
    state = told(state, events.Severed(2.0, "w1", "w0", 1.75))
    started = 0
    while starts := [each for each in decide(state) if isinstance(each, events.Start)]:
        state = starting(state, starts[0].worker)
        state = told(state, events.WorkerReady(3.0, starts[0].worker, group="h1", memory_bytes=10))
        started += 1
        assert started <= STARTS
    assert started
    assert whole(until_quiet(state, no_starts=True)[0])


@pytest.mark.parametrize(("cause", "known"), [("hang", False), (HOST_LOST, False), ("exit", True)])
def test_a_host_that_nobody_reaches_was_not_out_of_reach_of_one_alone(cause, known):
    state = severed(on_hosts(chain("m", "w0", "w1"), workers=THREE), "w1", by="w0")
    assert bool(told(state, events.WorkerLost(3.0, "w1", cause, 3.0)).severed) is known


def test_what_is_known_is_forgotten_after_a_while():
    state = severed(on_hosts(chain("m", "w0", "w1"), workers=THREE), "w1", by="w0")
    assert told(state, events.Retry(2.0 + SEVERED_S / 2)).severed
    assert not told(state, events.Retry(2.0 + SEVERED_S)).severed


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)).filter(lambda ends: ends[0] < ends[1]), max_size=6),
    st.lists(st.integers(0, 7), min_size=2, max_size=5),
    st.integers(0, 1),
)
def test_whatever_ways_break_each_model_comes_to_rest_where_all_reach_all(broken, placed, direction):
    """Whatever is found to be broken is told of, until nothing is: at most once for each way."""
    workers = {f"w{n}": f"h{n % 4}" for n in range(8)}
    state = on_hosts(chain("m", *(f"w{n}" for n in placed)), workers=workers)
    ways = {frozenset((f"h{one}", f"h{other}")) for one, other in broken}
    moves = 0
    while (found := next(_used(state, ways, direction), None)) is not None:
        state = severed(state, *found)
        moves += 1
        assert moves <= len(ways)
    assert state.models["m"].settled
    assert not state.models["m"].failure


def _used(state, ways, direction):
    """Broken ways along which something is sent, as they are reported: the receiver, and the sender."""
    plan = state.models["m"].plan
    for link in plan.links:
        ends = (plan.stage(link.receiver).worker, plan.stage(link.sender).worker)
        if frozenset(state.workers[each].group for each in ends) in ways:
            yield ends if not direction else ends[::-1]


@pytest.mark.parametrize("by", ["w0", "w1"])
def test_planned_moves_heed_what_is_known(by):
    state = severed(
        on_hosts(chain("m", "w0", "w1"), workers={**THREE, "other": "h3"}), {"w0": "w1", "w1": "w0"}[by], by
    )
    before = homes(state)
    state, _ = until_quiet(told(state, events.Ordered(3.0, "o1", "drain", before[1])))
    assert homes(state) != before
    assert whole(state)


def test_who_does_not_reach_a_worker_of_the_deployments_own_machine_reaches_none_of_it():
    workers = {"w0": "", "w1": "", "far": "rack", "near": "room"}
    state = severed(on_hosts(chain("m", "w0", "far"), workers=workers), "w0", by="far")
    assert homes(state) == ["near", "far"]
    assert list(state.severed) == [(HERE, "rack")]
    del workers["near"]
    state = severed(on_hosts(chain("m", "w0", "far"), workers=workers), "w0", by="far")
    assert homes(state) == ["far", "far"]
