"""Models that were loaded because somebody called them: nothing is kept ready for them, and their workers go with them."""

from __future__ import annotations

from synfire.control import events
from synfire.control.apply import apply
from synfire.control.decide import decide
from synfire.control.state import State
from synfire.plan.plan import Plan, Stage


def plan(model: str, worker: str) -> Plan:
    stage = Stage(name="s0", operators=("o0",), worker=worker)
    return Plan(model=model, granularity="model", stages=(stage,), links=(), frame_steps=1)


def after(state: State, *happened: events.Event) -> State:
    for event in happened:
        state = apply(state, event)
    return state


def serving(spares: int, *workers: str) -> State:
    """A lasting model on w0, and one on demand on w1; further workers are spares."""
    ready = [events.WorkerReady(0.0, each) for each in ("w0", "w1", *workers)]
    added = events.ModelAdded(0.0, plan("lasting", "w0")), events.ModelAdded(0.0, plan("now", "w1"), on_demand=True)
    return after(State(spares=spares), *ready, *added)


def test_spares_build_nothing_of_a_model_that_goes_again() -> None:
    assert decide(serving(1, "spare")) == (events.Prepare("lasting", "s0", "spare"),)


def test_the_worker_of_a_model_that_is_gone_is_ended() -> None:
    state = after(serving(0), events.ModelRemoved(1.0, "now"), events.Dismissed(1.0, "w1"))
    assert decide(state) == (events.Retire("w1"),)
    gone = after(state, events.WorkerLost(2.0, "w1", "retired", 2.0))
    assert (decide(gone), gone.recoveries, gone.finished) == ((), (), ())


def test_a_worker_that_is_wanted_as_a_spare_or_has_something_to_do_stays() -> None:
    spare = after(serving(1), events.ModelRemoved(1.0, "now"), events.Dismissed(1.0, "w1"))
    assert not any(isinstance(each, events.Retire) for each in decide(spare))
    busy = after(serving(0), events.Dismissed(1.0, "w1"), events.Dismissed(1.0, "nobody"))
    assert decide(busy) == ()


def test_a_model_on_demand_asks_for_no_worker_for_good() -> None:
    assert serving(0).in_service == 1


def test_a_model_on_demand_whose_worker_is_lost_goes_on_elsewhere() -> None:
    state = after(serving(1, "spare"), events.WorkerLost(1.0, "w1", "exit", 0.9))
    assert events.Adopt("now", "s0", "spare", 1) in decide(after(state, events.Suspended(1.0, "now", 1)))
