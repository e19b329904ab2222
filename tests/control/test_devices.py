"""Unlike devices: who can host what, and what becomes of stages whose device is gone."""

from __future__ import annotations

from stories import done, homes, lost, plan, serving, told, until_quiet

from synfire.control import events
from synfire.control.decide import decide
from synfire.control.record import record_of

KINDS = {"chip-0": "darwin3", "chip-1": "darwin3"}


def with_chips(*workers, free=0, **settings):
    """A model of which one stage runs on a chip; `free` chips are in nobody's hands."""
    model = plan("m", "w0", "chip-0:darwin3")
    return serving(model, workers=workers, kinds=KINDS, devices={"darwin3": free}, **settings)


def dead(worker):
    return events.DeviceLost(2.0, worker, "chip dead", 2.0)


def engines(state):
    model = state.models["m"]
    return [model.plan.engine_of(stage) for stage in model.plan.stages]


def test_a_chip_takes_over_from_a_chip():
    state, _ = until_quiet(told(with_chips("w0", "chip-0", "w1", "chip-1"), lost("chip-0")))
    assert homes(state, "m") == ["w0", "chip-1"]
    assert engines(state) == ["cpu", "darwin3"]


def test_a_free_chip_is_started_rather_than_done_without():
    state, log = until_quiet(told(with_chips("w0", "chip-0", free=1), lost("chip-0")))
    assert events.Start("spare-0", "darwin3") in log
    assert engines(state) == ["cpu", "darwin3"]


def test_the_chip_of_a_worker_that_was_killed_is_free_again():
    state = told(with_chips("w0", "chip-0"), lost("chip-0"))
    assert [each for each in decide(state) if isinstance(each, events.Start)] == [events.Start("spare-0", "darwin3")]


def test_a_processor_takes_over_when_the_chip_is_dead_and_no_other_is_there():
    state = told(with_chips("w0", "chip-0"), dead("chip-0"))
    assert engines(state) == ["cpu", "cpu"]
    assert state.models["m"].substituted == {"s1": "darwin3"}
    state, log = until_quiet(state)
    assert not [each for each in log if isinstance(each, events.Start)]
    assert any(isinstance(each, events.Adopt) and each.stage == "s1" for each in log)


def test_the_record_of_a_substitution_is_degraded_and_tells_how_far_the_two_agree():
    state = told(with_chips("w0", "chip-0"), dead("chip-0"))
    for action in decide(state):
        if isinstance(action, events.Adopt):
            event = events.Adopted(2.5, "m", action.stage, action.worker, action.epoch, 0.0, 0.997)
            state = told(state, event)
        else:
            state = done(state, action)
    state, _ = until_quiet(state, till=lambda state: state.finished)
    record = record_of(state.finished[0], "test", 1000.0)
    assert record.outcome == "degraded"
    assert [(each.stage, each.planned, each.engine, each.agreement) for each in record.substituted] == [
        ("s1", "darwin3", "cpu", 0.997)
    ]
    assert "m.s1 runs on cpu in place of darwin3, whose spikes agree to 99.7 %" in record.reason


def test_a_stage_returns_to_a_chip_when_the_stages_are_spread_again():
    state, _ = until_quiet(told(with_chips("w0", "chip-0", spares=1, spare_kind="darwin3"), dead("chip-0")))
    assert engines(state) == ["cpu", "cpu"]
    state = told(state, events.WorkerReady(5.0, "chip-1", "darwin3"), events.Ordered(6.0, "o", "rebalance"))
    state, _ = until_quiet(state)
    assert engines(state) == ["cpu", "darwin3"]
    assert homes(state, "m")[1] == "chip-1"
    assert not state.models["m"].substituted


def test_a_drain_moves_no_stage_to_another_device():
    state = told(with_chips("w0", "w1", "chip-0"), events.Ordered(2.0, "o", "drain", "chip-0"))
    state, _ = until_quiet(state, till=lambda state: all(each.over for each in state.orders))
    assert "cannot be drained: no other worker with a darwin3 can host m.s1" in state.orders[0].failure
    assert engines(state) == ["cpu", "darwin3"]


def test_a_spare_without_the_chip_prepares_for_its_processor():
    state = with_chips("w0", "chip-0", "idle-0", spares=1)
    log = until_quiet(state)[1]
    assert {(each.stage, each.engine) for each in log} == {("s0", "cpu"), ("s1", "cpu")}


def test_spares_are_chips_as_long_as_there_are_any():
    _state, log = until_quiet(with_chips("w0", "chip-0", free=1, spares=2, spare_kind="darwin3"))
    assert [each.kind for each in log if isinstance(each, events.Start)] == ["darwin3", "cpu"]
