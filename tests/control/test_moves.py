"""Planned moves: drains, upgrades and rebalances, as the pure core carries them out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stories import done, homes, lost, plan, serving, told, until_quiet

from synfire.base.errors import TemporaryError, UnknownName
from synfire.control import events
from synfire.control.balance import balancing, cost_s
from synfire.control.decide import decide
from synfire.control.losses import starting
from synfire.control.moves import check
from synfire.control.record import record_of


def order(kind, worker="", name="o"):
    return events.Ordered(2.0, name, kind, worker)


def carried_out(state, kind, worker="", **options):
    """What becomes of an order: the state when it is over, all that was done, and the order."""
    state = told(state, order(kind, worker))
    state, log = until_quiet(state, till=lambda state: all(each.over for each in state.orders), **options)
    (over,) = state.orders
    return state, log, over


def test_a_drained_worker_hands_over_and_ends():
    state, log, over = carried_out(
        serving(plan("m", "w0", "w1"), workers=("w0", "w1", "idle-0"), spares=1), "drain", "w1"
    )
    assert (over.failure, over.retired) == ("", ("w1",))
    assert [(each.stage, each.source, each.target) for each in over.moved] == [("s1", "w1", "idle-0")]
    assert "w1" not in state.workers
    assert events.Retire("w1") in log


def test_stages_are_built_where_they_go_before_any_call_is_interrupted():
    _, log, _ = carried_out(serving(plan("m", "w0", "w1"), workers=("w0", "w1", "w2")), "drain", "w1")
    built = log.index(events.Prepare("m", "s1", "w2", "cpu"))
    assert built < log.index(events.Suspend("m", 1)) < log.index(events.Adopt("m", "s1", "w2", 1))
    assert next(each for each in log if isinstance(each, events.Adopt)).prepared


def test_a_worker_drops_what_it_has_handed_over_and_ends_after_that():
    _, log, _ = carried_out(serving(plan("m", "w0", "w1"), workers=("w0", "w1", "w2")), "drain", "w1")
    assert log.index(events.Drop("m", "w1", ("s1",))) < log.index(events.Retire("w1"))


def test_a_move_is_recorded_as_one_and_nothing_was_lost():
    state = told(serving(plan("m", "w0", "w1"), workers=("w0", "w1", "w2")), order("drain", "w1"))
    state, _ = until_quiet(state, till=lambda state: state.finished)
    record = record_of(state.finished[0], "test", 1000.0)
    assert (record.cause.kind, record.outcome, record.worker, record.spare) == ("drain", "moved", "w1", "w2")
    assert [(each.model, each.stage, each.source, each.target) for each in record.moved] == [("m", "s1", "w1", "w2")]
    assert "detect" not in {step.name for step in record.steps}


def test_who_asked_is_told_and_the_order_forgotten():
    state = told(serving(plan("m", "w0", "w1"), workers=("w0", "w1", "w2")), order("drain", "w1"))
    state, log = until_quiet(state)
    assert events.Answer("o") in log
    assert state.orders == ()


def test_a_drain_without_room_changes_nothing():
    before = serving(plan("m", "w0", "w1", size=10), workers=("w0", "w1"), memory_bytes=10, most_workers=2)
    state, log, over = carried_out(before, "drain", "w1")
    assert "worker w1 cannot be drained: no other worker can host m.s1, which needs 10 B" in over.failure
    assert log == []
    assert (state.workers, state.models) == (before.workers, before.models)


def test_a_drain_starts_a_worker_where_it_may():
    state, log, over = carried_out(
        serving(plan("m", "w0", "w1", size=10), workers=("w0", "w1"), memory_bytes=10), "drain", "w1"
    )
    assert events.Start("spare-0", "cpu") in log
    assert homes(state, "m") == ["w0", "spare-0"]
    assert not over.failure


def test_a_drain_fails_when_that_worker_does_not_start():
    state = serving(plan("m", "w0", "w1", size=10), workers=("w0", "w1"), memory_bytes=10)
    state, _, over = carried_out(state, "drain", "w1", no_starts=True)
    assert "cannot be drained" in over.failure
    assert not state.workers["w1"].leaving


def test_a_worker_that_is_lost_while_it_is_drained_is_recovered_and_the_order_is_over():
    state = told(serving(plan("m", "w0", "w1"), workers=("w0", "w1", "w2")), order("drain", "w1"))
    state, _ = until_quiet(told(state, lost("w1")), till=lambda state: all(each.over for each in state.orders))
    assert homes(state, "m") == ["w0", "w2"]
    assert not state.orders[0].failure


def test_a_move_looks_for_another_way_when_its_target_is_lost():
    state = told(serving(plan("m", "w0", "w1"), workers=("w0", "w1", "w2", "w3")), order("drain", "w1"))
    (way,) = state.orders[0].underway
    state, _ = until_quiet(told(state, lost(way.target)))
    assert homes(state, "m")[1] in {"w2", "w3"} - {way.target}


def test_orders_wait_for_recoveries_and_for_one_another():
    state = serving(plan("m", "w0", "w1"), workers=("w0", "w1", "w2", "w3"))
    state = told(state, lost("w0"), order("drain", "w1", "first"), order("drain", "w2", "second"))
    assert not any(each.underway for each in state.orders)
    state, log = until_quiet(state)
    assert [each.id for each in log if isinstance(each, events.Answer)] == ["first", "second"]
    assert set(homes(state, "m")) == {"w3"}


def test_an_unknown_worker_or_one_that_starts_cannot_be_drained():
    state = serving(plan("m", "w0"), workers=("w0",), spares=1)
    with pytest.raises(UnknownName, match="known: w0"):
        check(state, "drain", "w9")
    (start,) = decide(state)
    with pytest.raises(TemporaryError, match="try again when it is ready"):
        check(starting(state, start.worker), "drain", start.worker)


@pytest.mark.parametrize("spares", [0, 1, 2])
def test_an_upgrade_replaces_every_worker_and_keeps_the_models_protected(spares):
    old = ["w0", "w1", *(f"old-{n}" for n in range(spares))]
    state, _ = until_quiet(serving(plan("a", "w0", "w1"), plan("b", "w1"), workers=old, spares=spares))
    state = told(state, order("upgrade"))
    for _ in range(200):
        if state.orders[0].over:
            break
        action = decide(state)[0]
        if isinstance(action, events.Retire):
            assert len(state.idle()) >= spares
        state = done(state, action)
    assert not set(state.workers) & set(old)
    assert len(state.workers) == len(old)
    assert set(state.orders[0].retired) == set(old)
    assert not state.orders[0].failure


def test_an_upgrade_that_cannot_start_a_worker_says_so_and_ends_nobody():
    state, _log, over = carried_out(
        serving(plan("m", "w0"), workers=("w0", "idle-0"), spares=1, most_workers=2), "upgrade"
    )
    assert "worker w0 cannot be replaced: no worker can be started beside those that run" in over.failure
    assert set(state.workers) == {"w0", "idle-0"}


def test_a_rebalance_brings_the_lost_worker_back_and_shares_the_stages():
    state, _ = until_quiet(serving(plan("m", "w0", "w1", "w0", "w1"), workers=("w0", "w1")))
    state, _ = until_quiet(told(state, lost("w1")))
    assert set(homes(state, "m")) == {"w0"}
    state, _log, over = carried_out(state, "rebalance")
    assert sorted(homes(state, "m").count(worker) for worker in set(homes(state, "m"))) == [2, 2]
    assert len(over.moved) == 2


def test_a_rebalance_of_what_is_even_moves_nothing():
    _, log, over = carried_out(serving(plan("m", "w0", "w1"), workers=("w0", "w1")), "rebalance")
    assert (log, over.moved) == ([], ())


def test_a_rebalance_leaves_the_spares_alone():
    state = serving(plan("m", "w0", "w0", "w1"), workers=("w0", "w1", "idle-0"), spares=1)
    state, _, _over = carried_out(state, "rebalance")
    assert "idle-0" not in homes(state, "m")


loads = st.lists(st.tuples(st.integers(0, 3), st.floats(1e-4, 1e-1)), min_size=1, max_size=8)


@given(loads, st.integers(0, 12))
def test_balancing_never_makes_the_busiest_worker_busier_nor_any_one_too_full(stages, room):
    workers = [f"w{n}" for n in range(4)]
    plans = [plan(f"m{n}", f"w{home}", size=1, busy_s=busy) for n, (home, busy) in enumerate(stages)]
    limit = room if room >= len(stages) else None
    state = serving(*plans, workers=workers, memory_bytes=limit)
    moves = balancing(state, workers)

    def busy(of):
        return [sum(cost_s(each.stages[0]) for each in plans if of[each.model] == worker) for worker in workers]

    before = {each.model: each.stages[0].worker for each in plans}
    after = before | {each.model: each.target for each in moves}
    assert max(busy(after)) <= max(busy(before)) + 1e-12
    assert all(each.source == before[each.model] != each.target for each in moves)
    if limit is not None:
        assert all(list(after.values()).count(worker) <= limit for worker in workers)
    heaviest = max(workers, key=lambda worker: busy(after)[workers.index(worker)])
    for each in plans if limit is None else ():
        for other in workers if after[each.model] == heaviest else ():
            tried = busy(after | {each.model: other})
            pair = max(tried[workers.index(other)], tried[workers.index(heaviest)])
            assert other == heaviest or pair >= 0.99 * max(busy(after)) - 1e-12
