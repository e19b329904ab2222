"""How models are served, in the words that users read."""

from __future__ import annotations

from stories import lost, plan, serving, told, until_quiet

from synfire.control import events
from synfire.control.condition import condition


def of(state, model, agreements=None):
    return condition(state.models[model], agreements or {})


def test_a_model_that_is_served_as_planned_has_nothing_to_tell():
    found = of(serving(plan("m", "w0"), workers=("w0",)), "m")
    assert (found.status, found.reason, found.substituted) == ("served", "", ())


def test_a_model_on_an_unlike_engine_is_degraded_and_says_how_far_the_two_agree():
    state = serving(
        plan("m", "w0", "chip-0:darwin3"), workers=("w0", "chip-0"), kinds={"chip-0": "darwin3"}, devices={"darwin3": 0}
    )
    state, _ = until_quiet(told(state, events.DeviceLost(2.0, "chip-0", "chip dead", 2.0)))
    found = of(state, "m", {("m", "s1"): 0.985})
    assert found.status == "degraded"
    assert found.reason == "m.s1 runs on cpu in place of darwin3, whose spikes agree to 98.5 %"
    assert [(each.stage, each.planned, each.engine) for each in found.substituted] == [("s1", "darwin3", "cpu")]
    assert of(state, "m").reason == "m.s1 runs on cpu in place of darwin3"


def test_a_model_that_awaits_a_worker_waits_and_one_that_went_for_another_is_stopped():
    models = plan("more", "w0", size=10), plan("less", "w1", size=10)
    state = serving(*models, workers=("w0", "w1"), priorities={"more": 5}, memory_bytes=10)
    waiting = told(state, lost("w0"))
    assert of(waiting, "more").status == "waiting"
    assert "more.s0, which was on w0, waits for a worker that is being started" in of(waiting, "more").reason
    gone, _ = until_quiet(waiting, no_starts=True)
    assert (of(gone, "more").status, of(gone, "less").status) == ("served", "stopped")
    assert "to make room for model 'more', whose priority 5 is above its own, 0" in of(gone, "less").reason
