"""Spares that do not prepare: a process is kept ready, and nothing is built before it is needed."""

from __future__ import annotations

from synfire.control import events
from synfire.control.apply import apply
from synfire.control.decide import decide
from synfire.control.state import State
from synfire.plan.plan import Plan, Stage


def serving(prepare: bool, *workers: str) -> State:
    stage = Stage(name="s0", operators=("o0",), worker="w0")
    plan = Plan(model="m", granularity="operator", stages=(stage,), links=(), frame_steps=4)
    state = State(spares=1, prepare=prepare)
    for event in (*(events.WorkerReady(0.0, each) for each in workers), events.ModelAdded(0.0, plan)):
        state = apply(state, event)
    return state


def test_spares_prepare_unless_they_are_told_not_to() -> None:
    assert decide(serving(True, "w0", "spare-0")) == (events.Prepare("m", "s0", "spare-0"),)
    assert decide(serving(False, "w0", "spare-0")) == ()


def test_without_preparing_a_ready_spare_is_enough_to_be_warm() -> None:
    assert not serving(True, "w0", "spare-0").warm
    assert serving(False, "w0", "spare-0").warm
    assert not serving(False, "w0").warm


def test_a_spare_that_has_prepared_nothing_is_sent_the_whole_stage() -> None:
    state = apply(serving(False, "w0", "spare-0"), events.WorkerLost(1.0, "w0", "exit", 0.9))
    (adopt,) = (each for each in decide(state) if isinstance(each, events.Adopt))
    assert (adopt.worker, adopt.prepared) == ("spare-0", False)
