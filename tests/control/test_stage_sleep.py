"""One stage of a model sleeps while the others stay: what it frees, who may have that, and how it comes back."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from stories import homes, lost, plan, serving, told, until_quiet

from synfire.control import events
from synfire.control.adoption import Found, taken_over
from synfire.control.condition import condition
from synfire.control.state import State
from synfire.plan.plan import Link, Plan
from synfire.plan.replicas import Range, ranged, replicated

SLEEPS = frozenset({"s1"})


def sleepy(*workers: str, **changes) -> Plan:
    """A chain of three stages, of which the second may sleep."""
    chain = plan("net", *(workers or ("w0", "w1", "w2")), busy_s=0.01, **changes)
    links = tuple(Link(source=f"o{n}", sender=f"s{n}", receiver=f"s{n + 1}") for n in range(2))
    return ranged(msgspec.structs.replace(chain, links=links), {"s1": Range(0, 2)})


def quiet(state, *happened, **settings):
    state, log = until_quiet(told(state, *happened), **settings)
    return state, log


def resting(*others, workers=("w0", "w1", "w2"), at=(), **settings):
    """The state in which the second stage sleeps, and what was done for that."""
    state, _ = until_quiet(serving(sleepy(*at, size=10), *others, workers=workers, memory_bytes=10, **settings))
    return quiet(state, events.Rested(2.0, "net", SLEEPS))


def wake(state, at_s=5.0, **settings):
    return quiet(state, events.Rested(at_s, "net"), **settings)


def kinds(log):
    return {type(each).__name__ for each in log}


def test_a_stage_that_sleeps_frees_its_worker_and_the_others_stay():
    state, log = resting()
    net = state.models["net"]
    assert set(net.hosted) == {("s0", "w0"), ("s2", "w2")}
    assert [state.room(each) for each in ("w0", "w1", "w2")] == [0, 10, 0]
    assert [each.name for each in state.idle()] == ["w1"]
    assert (state.calm, net.suspended) == (True, net.epoch)
    assert kinds(log) == {"Suspend", "Drop", "Relink", "Prepare"}, "nothing is adopted, and no call goes on"


def test_it_is_told_as_asleep_with_the_stage_that_is():
    state, _ = resting()
    said = condition(state.models["net"], {}, begins=False)
    assert (said.status, said.resting, said.away) == ("asleep", ("s1",), False)
    assert "s1 left its worker" in said.reason
    assert "the next call wakes what sleeps" in said.reason


def test_a_call_brings_it_back_where_it_was_and_builds_nothing_else():
    state, log = wake(resting()[0])
    assert homes(state, "net") == ["w0", "w1", "w2"]
    assert [each.stage for each in log if isinstance(each, events.Adopt)] == ["s1"]
    assert {"Relink", "Resume"} <= kinds(log)
    assert (condition(state.models["net"], {}).status, state.recoveries, state.finished) == ("served", (), ())


def test_one_that_is_called_before_it_is_gone_stays_where_it_is():
    state, _ = until_quiet(serving(sleepy(), workers=("w0", "w1", "w2")))
    state, log = quiet(told(state, events.Rested(2.0, "net", SLEEPS)), events.Rested(2.1, "net"))
    assert "Adopt" not in kinds(log)
    assert state.models["net"].linked
    assert homes(state, "net") == ["w0", "w1", "w2"]


def test_somebody_else_may_have_its_room_and_it_wakes_where_there_is_some():
    state, _ = resting(workers=("w0", "w1", "w2", "w3"))
    state, _ = quiet(state, events.ModelAdded(3.0, plan("other", "w1", size=10)))
    state, _ = wake(state)
    assert homes(state, "net") == ["w0", "w3", "w2"]
    assert homes(state, "other") == ["w1"]


def test_it_waits_with_its_calls_where_there_is_no_room_and_no_worker_is_begun_here():
    state, _ = resting(begins=False)
    state, _ = quiet(state, events.WorkerLost(3.0, "w1", "exit", 3.0))
    assert condition(state.models["net"], {}, begins=False).status == "asleep", "the loss wakes nobody"
    state, log = wake(state)
    said = condition(state.models["net"], {}, begins=False)
    assert said.joining
    assert "net.s1, which was on w1, waits for a cpu worker" in said.reason
    assert "GiveUp" not in kinds(log)
    state, _ = quiet(state, events.WorkerReady(6.0, "new", memory_bytes=10, joined=True))
    assert homes(state, "net") == ["w0", "new", "w2"]
    assert condition(state.models["net"], {}, begins=False).status == "served"


def test_a_worker_is_begun_for_it_where_there_is_none():
    state, _ = resting()
    state, _ = quiet(state, events.WorkerLost(3.0, "w1", "exit", 3.0))
    state, log = wake(state)
    assert [type(each).__name__ for each in log].count("Start") == 1
    assert state.models["net"].linked


def test_a_stage_of_a_device_wakes_on_no_other():
    """What it answers is to be the same as before it slept."""
    kinds_, at = {"w1": "chip"}, ("w0", "w1:chip", "w2")
    state, _ = resting(at=at, kinds=kinds_, devices={"chip": 0}, begins=False, workers=("w0", "w1", "w2", "free"))
    state, _ = quiet(state, events.WorkerLost(3.0, "w1", "exit", 3.0))
    state, _ = wake(state)
    assert state.models["net"].substituted == {}
    assert condition(state.models["net"], {}, begins=False).status == "waiting"
    state, _ = quiet(state, events.WorkerReady(6.0, "c2", "chip", memory_bytes=10, joined=True))
    assert homes(state, "net")[1] == "c2"


@pytest.mark.parametrize("name", ["w0", "w2"])
def test_the_loss_of_another_stage_is_made_good_while_it_sleeps(name):
    state, _ = resting(workers=("w0", "w1", "w2", "w3"))
    state, log = quiet(state, lost(name, 3.0))
    net = state.models["net"]
    assert (net.resting, net.linked, state.calm) == (SLEEPS, True, True)
    assert "Resume" not in kinds(log)
    assert (state.recoveries, [type(each).__name__ for each in log].count("Keep")) == ((), 1), (
        "it is on record, and over"
    )
    state, _ = wake(state)
    assert state.models["net"].linked
    assert name not in homes(state, "net")


def test_a_drain_of_the_worker_that_it_left_moves_nothing():
    state, log = quiet(resting()[0], events.Ordered(3.0, "o", "drain", "w1"))
    assert "w1" not in state.workers
    assert "Adopt" not in kinds(log)
    assert state.models["net"].resting == SLEEPS
    state, _ = wake(state)
    assert state.models["net"].linked


def test_a_drain_of_another_worker_moves_its_stage_while_it_sleeps():
    state, _ = resting(workers=("w0", "w1", "w2", "w3"))
    state, _ = quiet(state, events.Ordered(3.0, "o", "drain", "w0"))
    assert homes(state, "net")[0] != "w0"
    assert state.models["net"].resting == SLEEPS
    state, _ = wake(state)
    assert state.models["net"].linked


def test_it_wakes_where_its_neighbours_have_gone():
    """Else each loss, or drain, would have one worker more be busy afterwards."""
    for happened in (lost("w0", 3.0), events.Ordered(3.0, "o", "drain", "w0")):
        state, _ = until_quiet(serving(sleepy("w0", "w0", "w0"), workers=("w0", "w1", "w2")))
        state, _ = quiet(state, events.Rested(2.0, "net", SLEEPS), happened)
        (home,) = {each.worker for each in state.models["net"].placed}
        state, _ = wake(state)
        assert homes(state, "net") == [home] * 3
        assert home != "w0"


def test_all_its_replicas_sleep_and_one_wakes():
    several = replicated(sleepy(), {"s1": ("w1", "w3")})
    state, _ = until_quiet(serving(several, workers=("w0", "w1", "w2", "w3")))
    state, _ = quiet(state, events.Pressed(1.0, "net", "s1", 2))
    state, log = quiet(state, events.Rested(2.0, "net", SLEEPS))
    assert {each.name for each in state.idle()} == {"w1", "w3"}
    assert "Adopt" not in kinds(log)
    state, _ = wake(state)
    assert homes(state, "net") == ["w0", "w1", "w2"]
    state, _ = quiet(state, events.Pressed(6.0, "net", "s1", 2))
    assert sorted(homes(state, "net")) == ["w0", "w1", "w2", "w3"]


def test_nothing_goes_to_sleep_in_the_midst_of_a_recovery():
    state = told(serving(sleepy(), workers=("w0", "w1", "w2", "w3")), lost("w0"))
    assert told(state, events.Rested(2.1, "net", SLEEPS)) == state
    state, _ = quiet(state)
    assert told(state, events.Rested(3.0, "net", SLEEPS)).models["net"].resting == SLEEPS


def test_what_has_no_place_does_not_go_to_sleep():
    state = told(State(begins=False), events.ModelAdded(0.0, sleepy(), fresh=True))
    assert told(state, events.Rested(1.0, "net", SLEEPS)) == state
    state, _ = quiet(resting(begins=False)[0], events.WorkerLost(3.0, "w0", "exit", 3.0))
    assert state.models["net"].failure == ""
    state, _ = quiet(state, events.WorkerLost(3.0, "w1", "exit", 3.0), events.WorkerLost(4.0, "w2", "exit", 4.0))
    assert state.models["net"].failure
    assert told(state, events.Rested(5.0, "net", frozenset({"s1", "s2"}))).models["net"].resting == SLEEPS


def test_a_model_of_which_a_stage_sleeps_may_sleep_whole_and_wakes_whole():
    state, _ = quiet(resting()[0], events.Slept(3.0, "net"))
    assert dict(state.models["net"].hosted) == {}
    assert condition(state.models["net"], {}).away
    state, _ = quiet(state, events.Slept(4.0, "net", asleep=False))
    assert state.models["net"].linked
    assert condition(state.models["net"], {}).status == "served"


def test_one_that_was_stopped_for_another_comes_back_whole():
    """Nobody could wake it: calls of a stopped model are answered by an error."""
    state, _ = resting(begins=True, most_workers=3, starts=0)
    state, _ = quiet(state, lost("w1", 3.0), no_starts=True)
    state = replace(state, starts=0, most_workers=2)
    important = events.ModelAdded(4.0, plan("important", "w0", size=10), 5, fresh=True)
    state, _ = quiet(state, important, no_starts=True)
    state, _ = quiet(state, lost("w2", 5.0), no_starts=True)
    assert state.models["net"].stopped
    assert state.models["net"].resting == frozenset()


def test_a_controller_that_takes_over_leaves_it_asleep():
    written, _ = resting()
    holding = {
        worker: {
            ("net", stage): epoch for (stage, home), epoch in written.models["net"].hosted.items() if home == worker
        }
        for worker in written.workers
    }
    state, events_ = taken_over(written, Found(holding, before=1), 9.0)
    state, log = quiet(state, *events_)
    net = state.models["net"]
    assert (net.resting, net.suspended, state.calm) == (SLEEPS, net.epoch, True)
    assert "Suspend" in kinds(log), "gateways hold its calls"
    assert not kinds(log) & {"Adopt", "Resume"}
    state, _ = wake(state)
    assert homes(state, "net") == ["w0", "w1", "w2"]
