"""Events of chips: stages of models that are to bear so many requests a second are placed by what workers have left of them."""

from __future__ import annotations

import msgspec
import pytest
from stories import homes, lost, plan, serving, told, until_quiet

from synfire.base.errors import TemporaryError
from synfire.control import events
from synfire.control.arrival import received
from synfire.control.condition import condition
from synfire.control.decide import decide
from synfire.control.state import State
from synfire.devices import Cores
from synfire.plan.replicas import replicated

ROOM = Cores(100, 50, 300)
CHIPS = {"chip-0": "darwin3", "chip-1": "darwin3", "chip-2": "darwin3"}


def loaded(model, worker, keps):
    """A model of one stage that takes two cores and so many KEPS: 20 requests a second, of so many events each."""
    return plan(model, f"{worker}:darwin3", cores=Cores(2), events=keps * 50, rate=20.0)


def with_chips(*plans, workers=("w0", "chip-0", "chip-1"), room=ROOM, **settings):
    return serving(*plans, workers=workers, kinds=CHIPS, devices={"darwin3": 0}, cores={"darwin3": room}, **settings)


def then(state, *happened):
    return until_quiet(told(state, *happened))[0]


def joins(name, cores):
    return events.WorkerReady(1.0, name, "darwin3", name, joined=True, cores=cores)


def asked(*plans):
    """The state in which these have been asked for, where all workers join."""
    wanted = (events.ModelAdded(1.0, each, fresh=True, kinds=frozenset(["darwin3"])) for each in plans)
    return until_quiet(told(State(begins=False), *wanted))[0]


def test_stages_of_several_models_share_the_events_of_a_chip():
    state = with_chips(loaded("m", "chip-0", 120), loaded("n", "chip-0", 30))
    assert state.free_cores("chip-0") == Cores(96, 50, 150)
    assert then(state, events.ModelRemoved(2.0, "n")).free_cores("chip-0") == Cores(98, 50, 180)


def test_less_than_a_thousand_events_a_second_take_one_of_the_chip():
    state = with_chips(plan("m", "chip-0:darwin3", cores=Cores(2), events=1.0, rate=0.5))
    assert state.free_cores("chip-0") == Cores(98, 50, 299)


def test_what_is_lost_goes_where_the_events_for_it_are_left():
    plans = loaded("m", "chip-0", 200), loaded("n", "chip-1", 101)
    state = then(with_chips(*plans, workers=("w0", "chip-0", "chip-1", "chip-2")), lost("chip-0"))
    assert homes(state, "m") == ["chip-2"]
    assert state.free_cores("chip-2") == Cores(98, 50, 100)


def test_a_stage_goes_to_a_processor_where_no_chip_bears_its_events_and_returns_when_one_does():
    state = with_chips(loaded("m", "chip-0", 200), loaded("n", "chip-1", 101))
    state = then(state, events.DeviceLost(2.0, "chip-0", "chip dead", 2.0))
    assert state.models["m"].substituted == {"s0": "darwin3"}
    assert state.free_cores("chip-1") == Cores(98, 50, 199)
    state = then(state, joins("far", Cores(100, 50, 199)), events.Ordered(4.0, "o", "rebalance"))
    assert state.models["m"].substituted == {"s0": "darwin3"}
    state = then(state, joins("further", Cores(100, 50, 200)), events.Ordered(5.0, "p", "rebalance"))
    assert homes(state, "m") == ["further"]
    assert not state.models["m"].substituted


def test_a_fresh_model_waits_for_events_and_says_how_many_it_needs_and_how_many_there_are():
    state = then(asked(loaded("m", "place-0", 120)), joins("small", Cores(575, 287, 119)))
    assert "with 2 cores and 120 KEPS free where it is on a device" in state.models["m"].failure
    assert "1 of kind darwin3 (0 of the 1 here can)" in state.models["m"].failure
    assert "free now: small 575 cores (287 large) and 119 KEPS of 575 cores and 119 KEPS" in state.models["m"].failure
    assert condition(state.models["m"], {}, begins=False).status == "waiting"
    assert homes(then(state, joins("large", Cores(575, 287, 120))), "m") == ["large"]


def test_a_model_that_has_left_gives_its_events_to_one_that_waits():
    state = then(asked(loaded("m", "place-0", 200)), joins("chip", ROOM))
    state = then(state, events.ModelAdded(2.0, loaded("n", "place-0", 101), fresh=True))
    assert "free now: chip 98 cores (50 large) and 100 KEPS of 100 cores and 300 KEPS" in state.models["n"].failure
    assert homes(then(state, events.ModelRemoved(3.0, "m")), "n") == ["chip"]


def test_what_was_served_and_finds_no_events_waits_and_names_them():
    state = asked(loaded("m", "place-0", 200), loaded("n", "place-0", 200))
    state = then(state, joins("c0", ROOM), joins("c1", ROOM))
    (home,) = homes(state, "m")
    state = then(state, lost(home))
    reason = state.models["m"].failure
    assert "waits for a darwin3 worker with room for 0 B and 2 cores and 200 KEPS to join" in reason
    assert f"free now: {homes(state, 'n')[0]} 98 cores (50 large) and 100 KEPS of 100 cores and 300 KEPS" in reason


def test_a_drain_needs_the_events_elsewhere():
    state = with_chips(loaded("m", "chip-0", 200), loaded("n", "chip-1", 101))
    state, _ = until_quiet(
        told(state, events.Ordered(2.0, "o", "drain", "chip-0")), till=lambda each: each.orders[0].over
    )
    assert "can host m.s0, which needs 2 cores and 200 KEPS" in state.orders[0].failure
    assert homes(state, "m") == ["chip-0"]


def test_a_model_that_comes_is_received_where_its_events_are_borne_or_told_why_not():
    state = with_chips(loaded("m", "chip-0", 200))
    assert received(state, loaded("n", "chip-0", 100)).plan.workers == ("chip-0",)
    assert received(state, loaded("n", "chip-0", 101)).plan.workers == ("chip-1",)
    alone = with_chips(loaded("m", "chip-0", 200), workers=("chip-0",))
    with pytest.raises(TemporaryError, match=r"and 100 KEPS of its darwin3 free, .* take 2 cores and 101 KEPS"):
        received(alone, loaded("n", "chip-0", 101))


def test_no_worker_is_started_that_would_not_bear_the_events():
    state = serving(
        loaded("m", "chip-0", 200),
        workers=("chip-0",),
        kinds=CHIPS,
        devices={"darwin3": 1},
        cores={"darwin3": Cores(100, 50, 199)},
        most_workers=1,
    )
    state = told(state, lost("chip-0"))
    assert not [each for each in decide(state) if isinstance(each, events.Start) and each.kind == "darwin3"]


def test_without_a_rate_nothing_is_asked_for_and_any_chip_will_do():
    state = with_chips(msgspec.structs.replace(loaded("m", "chip-0", 9999), rate=0.0), room=Cores(100, 50, 1))
    assert state.free_cores("chip-0") == Cores(98, 50, 1)
    assert homes(then(state, lost("chip-0")), "m") == ["chip-1"]


def test_a_chip_of_which_nobody_knows_what_it_bears_takes_any_load():
    state = with_chips(loaded("m", "chip-0", 9999), room=Cores(100, 50))
    assert state.free_cores("chip-0") == Cores(98, 50)
    assert homes(then(state, lost("chip-0")), "m") == ["chip-1"]


def test_replicas_of_a_stage_share_its_events():
    whole = loaded("m", "chip-0", 300)
    shared = replicated(whole, {"s0": ["chip-0", "chip-1", "chip-2"]})
    state = with_chips(shared, workers=("w0", *CHIPS))
    assert {name: state.free_cores(name).keps for name in CHIPS} == dict.fromkeys(CHIPS, 200)
    assert replicated(shared, {"s0": ["chip-0"]}).need(whole.stages[0]).keps == 300
