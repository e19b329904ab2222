"""Why a rebalance moves nothing, in numbers."""

from __future__ import annotations

import pytest
from stories import plan, serving, told, until_quiet

from synfire.control import events
from synfire.control.evenness import loads, remarks


def rebalanced(state, **options):
    """What the order tells at its end."""
    state, _ = until_quiet(
        told(state, events.Ordered(2.0, "o", "rebalance", "")),
        till=lambda state: all(each.over for each in state.orders),
        **options,
    )
    (over,) = state.orders
    return over


def test_even_loads_and_the_best_move_that_is_left_are_told():
    over = rebalanced(serving(plan("m", "w0", "w0", "w1", busy_s=1e-3), workers=("w0", "w1")))
    assert (over.moved, over.failure) == ((), "")
    assert over.loads == (("w0", pytest.approx(2e-3)), ("w1", pytest.approx(1e-3)))
    (remark,) = over.remarks
    assert "w0 is the busiest with 2 ms a request, and no move makes that better" in remark
    assert "m.s0 to w1, would leave one of the two with 2 ms" in remark


def test_loads_are_told_after_moves_too():
    over = rebalanced(serving(plan("m", "w0", "w0", busy_s=1e-3), plan("n", "w1", busy_s=1e-9), workers=("w0", "w1")))
    assert len(over.moved) == 1
    assert dict(over.loads) == {"w0": pytest.approx(1e-3), "w1": pytest.approx(1e-3)}


def test_without_room_for_a_single_stage_that_is_told():
    state = serving(plan("m", "w0", "w0", size=5), plan("n", "w1", size=10), workers=("w0", "w1"), memory_bytes=10)
    assert "no other worker has the room and the device for any of its stages" in rebalanced(state).remarks[0]


def test_a_lonely_worker_says_why_no_other_is_started():
    state = serving(plan("m", "w0", "w1"), workers=("w0", "w1"), most_workers=1)
    state, _ = until_quiet(told(state, events.WorkerLost(2.0, "w1", "exit", 2.0)))
    over = rebalanced(state)
    assert over.remarks[0] == "all stages are on w0, and no other worker serves"
    assert over.remarks[1] == "1 of 2 workers serve, and no other worker may be started: --most-workers is 1"


def test_a_stage_that_cannot_return_to_its_device_stays_and_says_so():
    state = serving(
        plan("m", "w0", "chip-0:darwin3"), workers=("w0", "chip-0"), kinds={"chip-0": "darwin3"}, devices={"darwin3": 0}
    )
    state, _ = until_quiet(told(state, events.DeviceLost(2.0, "chip-0", "chip dead", 2.0)))
    assert "m.s1 stays on cpu: no worker that has a darwin3 can take it" in rebalanced(state).remarks


def test_a_stage_is_built_anew_where_it_returns_to_its_device_whatever_was_prepared_there():
    state = serving(
        plan("m", "w0", "chip-0:darwin3"), workers=("w0", "chip-0"), kinds={"chip-0": "darwin3"}, devices={"darwin3": 0}
    )
    state, _ = until_quiet(told(state, events.DeviceLost(2.0, "chip-0", "chip dead", 2.0)))
    state, _ = until_quiet(told(state, events.WorkerReady(3.0, "chip-1", "darwin3")))
    assert ("m", "s1") in state.workers["chip-1"].prepared
    state, actions = until_quiet(told(state, events.Ordered(4.0, "o", "rebalance", "")))
    assert state.models["m"].plan.stage("s1").worker == "chip-1"
    assert not state.models["m"].substituted
    (adopted,) = (each for each in actions if isinstance(each, events.Adopt) and each.stage == "s1")
    assert (adopted.worker, adopted.prepared) == ("chip-1", False)


def test_a_model_that_is_stopped_is_nobodys_load():
    state = serving(plan("m", "w0", busy_s=1e-3), workers=("w0",), most_workers=1)
    assert loads(state, ["w0"]) == {"w0": 1e-3}
    state, _ = until_quiet(told(state, events.WorkerLost(2.0, "w0", "exit", 2.0)), no_starts=True)
    assert loads(state, ["w9"]) == {"w9": 0}
    assert next(remarks(state, [])) == "all stages are on no worker, and no other worker serves"
