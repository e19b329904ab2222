"""Cores of chips: stages are placed by what workers have left of them, as they are by memory."""

from __future__ import annotations

import pytest
from stories import done, homes, lost, plan, serving, told, until_quiet

from synfire.base.errors import TemporaryError
from synfire.control import events
from synfire.control.adoption import Found, taken_over
from synfire.control.arrival import received
from synfire.control.condition import condition
from synfire.control.decide import decide
from synfire.control.state import State
from synfire.devices import Cores

ROOM = Cores(10, 5)
CHIPS = {"chip-0": "darwin3", "chip-1": "darwin3", "chip-2": "darwin3"}


def joins(name, cores, kind="darwin3"):
    return events.WorkerReady(1.0, name, kind, name, joined=True, cores=cores)


def asked(*plans):
    """The state in which these have been asked for, where all workers join."""
    wanted = (events.ModelAdded(1.0, each, fresh=True, kinds=frozenset(["darwin3"])) for each in plans)
    return until_quiet(told(State(begins=False), *wanted))[0]


def then(state, *happened):
    return until_quiet(told(state, *happened))[0]


def dead(worker):
    return events.DeviceLost(2.0, worker, "chip dead", 2.0)


def on_chip(model, worker, cores):
    return plan(model, f"{worker}:darwin3", cores=cores)


def free(state, worker):
    return state.free_cores(worker)


def with_chips(*plans, workers=("w0", "chip-0", "chip-1"), **settings):
    return serving(*plans, workers=workers, kinds=CHIPS, devices={"darwin3": 0}, cores={"darwin3": ROOM}, **settings)


def test_stages_of_several_models_share_the_cores_of_a_worker():
    state = with_chips(on_chip("m", "chip-0", Cores(4, 1)), on_chip("n", "chip-0", Cores(5, 2)))
    assert (free(state, "chip-0"), free(state, "chip-1"), free(state, "w0")) == (Cores(1, 2), Cores(10, 5), None)
    assert free(then(state, events.ModelRemoved(2.0, "n")), "chip-0") == Cores(6, 4)


def test_what_is_lost_goes_where_the_cores_for_it_are_left():
    plans = on_chip("m", "chip-0", Cores(6)), on_chip("n", "chip-1", Cores(5))
    state = with_chips(*plans, workers=("w0", "chip-0", "chip-1", "chip-2"))
    state = then(state, lost("chip-0"))
    assert homes(state, "m") == ["chip-2"]
    assert free(state, "chip-2") == Cores(4, 5)


def test_large_cores_are_counted_by_themselves():
    plans = on_chip("m", "chip-0", Cores(4, 4)), on_chip("n", "chip-1", Cores(2, 2))
    state = then(with_chips(*plans, workers=("w0", "chip-0", "chip-1", "chip-2")), lost("chip-0"))
    assert homes(state, "m") == ["chip-2"]


def test_a_stage_goes_to_a_processor_where_no_chip_has_the_cores_for_it_and_takes_none_there():
    state = with_chips(on_chip("m", "chip-0", Cores(6)), on_chip("n", "chip-1", Cores(5)))
    state = then(state, dead("chip-0"))
    assert homes(state, "m") == ["chip-0"]
    assert free(state, "chip-0") is None
    assert state.models["m"].substituted == {"s0": "darwin3"}
    assert free(state, "chip-1") == Cores(5, 5)


def test_a_stage_returns_only_to_a_chip_with_the_cores_for_it():
    state = with_chips(on_chip("m", "chip-0", Cores(6)), on_chip("n", "chip-1", Cores(5)))
    state = then(then(state, dead("chip-0")), events.Ordered(4.0, "o", "rebalance"))
    assert state.models["m"].substituted == {"s0": "darwin3"}
    state = then(state, joins("far", Cores(6)), events.Ordered(5.0, "p", "rebalance"))
    assert homes(state, "m") == ["far"]
    assert not state.models["m"].substituted


def test_a_fresh_model_waits_for_cores_and_says_how_many_it_needs_and_how_many_there_are():
    state = then(asked(on_chip("m", "place-0", Cores(6, 2))), joins("small", Cores(5, 5)))
    assert "with 6 cores (2 large) free where it is on a device" in state.models["m"].failure
    assert "1 of kind darwin3 (0 of the 1 here can)" in state.models["m"].failure
    assert "free now: small 5 cores (5 large) of 5" in state.models["m"].failure
    assert condition(state.models["m"], {}, begins=False).status == "waiting"
    assert homes(then(state, joins("large", Cores(6, 2))), "m") == ["large"]


def test_a_model_that_has_left_gives_its_cores_to_one_that_waits():
    state = then(asked(on_chip("m", "place-0", Cores(6))), joins("chip", Cores(10)))
    state = then(state, events.ModelAdded(2.0, on_chip("n", "place-0", Cores(5)), fresh=True))
    assert "free now: chip 4 cores of 10" in state.models["n"].failure
    state = then(state, events.ModelRemoved(3.0, "m"))
    assert homes(state, "n") == ["chip"]


def test_what_was_served_and_finds_no_cores_waits_and_names_them():
    state = then(
        asked(on_chip("m", "place-0", Cores(6)), on_chip("n", "place-0", Cores(6))),
        *(joins(f"c{n}", Cores(6)) for n in (0, 1)),
    )
    (home,) = homes(state, "m")
    state = then(state, lost(home))
    told_of = state.models["m"].failure
    assert "waits for a darwin3 worker with room for 0 B and 6 cores to join" in told_of
    assert f"free now: {homes(state, 'n')[0]} 0 cores of 6" in told_of


def test_a_drain_needs_the_cores_elsewhere():
    state = with_chips(on_chip("m", "chip-0", Cores(6)), on_chip("n", "chip-1", Cores(5)))
    state, _ = until_quiet(
        told(state, events.Ordered(2.0, "o", "drain", "chip-0")), till=lambda each: each.orders[0].over
    )
    assert "no other worker with a darwin3 can host m.s0, which needs 6 cores" in state.orders[0].failure
    assert homes(state, "m") == ["chip-0"]


def test_a_spare_builds_no_more_beforehand_than_its_cores_take():
    plans = on_chip("m", "chip-0", Cores(6)), on_chip("n", "chip-0", Cores(4)), on_chip("o", "chip-1", Cores(5))
    state = with_chips(*plans, workers=("w0", "chip-0", "chip-1", "chip-2"), spares=1)
    _, log = until_quiet(state)
    assert [each.model for each in log if each.worker == "chip-2"] == ["m", "n"]


def test_a_model_that_comes_is_received_where_the_cores_are():
    state = with_chips(on_chip("m", "chip-0", Cores(6)))
    assert received(state, on_chip("n", "chip-0", Cores(4))).plan.workers == ("chip-0",)
    assert received(state, on_chip("n", "chip-0", Cores(5))).plan.workers == ("chip-1",)


def test_a_model_that_no_chip_has_the_cores_for_goes_to_a_processor_or_is_told_why_not():
    with_one = with_chips(on_chip("m", "chip-0", Cores(6)), workers=("w0", "chip-0"))
    assert received(with_one, on_chip("n", "chip-0", Cores(5))).substituted == {"s0": "darwin3"}
    state = with_chips(on_chip("m", "chip-0", Cores(6)), workers=("chip-0",))
    with pytest.raises(TemporaryError, match=r"chip-0 has 4 cores \(4 large\) of its darwin3 free, .* take 5 cores"):
        received(state, on_chip("n", "chip-0", Cores(5)))


def test_no_worker_is_started_that_would_not_have_the_cores():
    state = serving(
        on_chip("m", "chip-0", Cores(6)),
        workers=("w0", "chip-0"),
        kinds=CHIPS,
        devices={"darwin3": 1},
        cores={"darwin3": Cores(5)},
    )
    state = told(state, lost("chip-0"))
    assert not [each for each in decide(state) if isinstance(each, events.Start)]
    assert homes(then(state), "m") == ["w0"]


def test_a_controller_that_takes_over_knows_the_cores_of_what_it_was_starting():
    state = with_chips(on_chip("m", "chip-0", Cores(6)), workers=("w0", "chip-0"))
    state = done(state, events.Start("spare-7", "darwin3"))
    before = told(state, lost("spare-7"))
    found = Found({"w0": {}, "chip-0": {("m", "s0"): 0}, "spare-7": {}}, before=1)
    after, happened = taken_over(before, found, 9.0)
    after = told(after, *happened)
    assert free(after, "chip-0") == Cores(4, 5)
    assert "spare-7" in after.workers


def test_what_is_stopped_has_left_its_cores_before_what_takes_its_place_is_adopted():
    plans = on_chip("m", "chip-0", Cores(6)), on_chip("n", "chip-1", Cores(6))
    state = with_chips(*plans, workers=("chip-0", "chip-1"), priorities={"m": 1}, most_workers=1)
    state = told(state, lost("chip-0"))
    assert state.models["n"].failure
    assert not [each for each in decide(state) if isinstance(each, events.Adopt)]
    state, log = until_quiet(state, no_starts=True)
    dropped, adopted = (
        next(n for n, each in enumerate(log) if isinstance(each, kind)) for kind in (events.Drop, events.Adopt)
    )
    assert dropped < adopted
    assert homes(state, "m") == ["chip-1"]
