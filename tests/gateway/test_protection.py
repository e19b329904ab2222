"""What a gateway keeps of sessions: enough to bring each one back, and no more."""

from __future__ import annotations

import numpy as np
import pytest

from synfire.base.errors import Overloaded, TemporaryError
from synfire.gateway.call import Call
from synfire.gateway.protection import EVERY_CALLS, EVERY_S, MOST_CALLS, Protection
from synfire.wire.checksums import checksum
from synfire.wire.messages import Checkpoint

STAGES = ("a", "b")


def call(n, start=False, end=False):
    return Call(str(n), "m", {"x": np.full((1, 1), n, np.float32)}, "s", start, end, deadline_s=9.0)


def state(n):
    return {"v": np.full((1, 4), n, np.float32)}


def played(protection, count, checkpoints=(), now_s=0.0):
    """`count` calls of a new session; after those in `checkpoints` both stages send their state, which is the number."""
    for n in range(count):
        track = protection.begin(call(n, start=n == 0), 1, now_s)
        token = protection.token(track, call(n), now_s)
        protection.answered(track, call(n))
        if token and n in checkpoints:
            for stage in STAGES:
                protection.receive(Checkpoint("m", stage, "s", token), state(n), now_s)
    return track


def test_calls_are_kept_until_a_checkpoint_holds_them():
    protection = Protection(STAGES)
    track = played(protection, EVERY_CALLS - 1)
    assert [each.id for each in track.calls] == [str(n) for n in range(EVERY_CALLS - 1)]
    track = played(protection, EVERY_CALLS + 2, {EVERY_CALLS - 1})
    assert [each.id for each in track.calls] == [str(EVERY_CALLS), str(EVERY_CALLS + 1)]
    assert {name: each.state["v"][0, 0] for name, each in track.states.items()} == dict.fromkeys(
        STAGES, EVERY_CALLS - 1
    )


def test_half_a_checkpoint_is_none():
    protection = Protection(STAGES)
    track = played(protection, EVERY_CALLS - 1)
    token = protection.token(track, call(7), 0.0)
    protection.answered(track, call(7))
    protection.receive(Checkpoint("m", "a", "s", token), state(7), 0.0)
    assert len(track.calls) == EVERY_CALLS
    assert not track.states
    protection.receive(Checkpoint("m", "b", "s", token), state(7), 0.0)
    assert not track.calls
    assert set(track.states) == set(STAGES)


def test_a_checkpoint_that_comes_damaged_is_none_and_the_next_call_asks_again():
    protection = Protection(STAGES)
    track = played(protection, EVERY_CALLS - 1)
    token = protection.token(track, call(7), 0.0)
    protection.answered(track, call(7))
    protection.receive(Checkpoint("m", "a", "s", token, checksum=checksum(state(7))), state(7), 0.0)
    protection.receive(Checkpoint("m", "b", "s", token, checksum=checksum(state(7))), state(8), 0.0)
    assert not track.states
    assert len(track.calls) == EVERY_CALLS
    assert protection.token(track, call(8), 0.0) > token


def test_checkpoint_that_overtakes_the_answer_counts_when_the_call_is_through():
    protection = Protection(STAGES)
    track = played(protection, EVERY_CALLS - 1)
    token = protection.token(track, call(7), 0.0)
    for stage in STAGES:
        protection.receive(Checkpoint("m", stage, "s", token), state(7), 0.0)
    assert len(track.calls) == EVERY_CALLS - 1
    protection.answered(track, call(7))
    assert not track.calls


def test_an_old_session_of_the_name_sends_nothing_into_the_new_one():
    protection = Protection(STAGES)
    track = played(protection, EVERY_CALLS - 1)
    token = protection.token(track, call(7), 0.0)
    track = protection.begin(call(0, start=True), 1, 0.0)
    protection.receive(Checkpoint("m", "a", "s", token), state(7), 0.0)
    assert not track.asked
    assert not track.states


def test_time_asks_for_a_checkpoint_too():
    protection = Protection(STAGES)
    track = played(protection, 2)
    assert protection.token(track, call(2), EVERY_S / 2) == 0
    assert protection.token(track, call(2), EVERY_S) > 0
    assert protection.token(track, call(2, end=True), EVERY_S) == 0


def test_session_without_checkpoints_is_refused_before_memory_runs_out():
    protection = Protection(STAGES)
    played(protection, MOST_CALLS)
    with pytest.raises(Overloaded, match=f"has had no checkpoint for {MOST_CALLS} calls"):
        protection.begin(call(99), 1, 0.0)


def test_ended_dropped_and_idle_sessions_are_forgotten():
    protection = Protection(STAGES, idle_s=10.0)
    track = played(protection, 2)
    protection.answered(track, call(2, end=True))
    assert len(protection) == 0
    protection.drop(played(protection, 1))
    assert len(protection) == 0
    played(protection, 1, now_s=0.0)
    protection.begin(Call("x", "m", {}, "other", start=True), 1, 10.5)
    assert len(protection) == 1


def test_a_session_that_nobody_began_here_has_no_track():
    assert Protection(STAGES).begin(call(3), 1, 0.0) is None


def test_lost_workers_make_every_session_one_to_bring_back():
    protection = Protection(STAGES)
    track = played(protection, 3)
    track.epoch = 4
    assert protection.lose(STAGES) == 1
    assert track.epoch == -1


def test_a_session_with_a_checkpoint_cannot_go_on_on_another_device():
    protection = Protection(STAGES)
    track = played(protection, EVERY_CALLS + 1, {EVERY_CALLS - 1})
    protection.forsake(["b"])
    with pytest.raises(TemporaryError, match=r"stage b has moved to another device, .* begin it again"):
        track.check(call(9))


def test_a_session_without_a_checkpoint_is_computed_again_on_another_device():
    protection = Protection(STAGES)
    track = played(protection, 3)
    protection.forsake(["b"])
    track.check(call(9))
    assert [each.id for each in track.calls] == ["0", "1", "2"]


def test_a_session_that_was_forsaken_may_begin_again():
    protection = Protection(STAGES)
    played(protection, EVERY_CALLS + 1, {EVERY_CALLS - 1})
    protection.forsake(["a"])
    protection.begin(call(0, start=True), 1, 0.0).check(call(0))


def test_what_protection_costs_is_counted():
    protection = Protection(STAGES)
    played(protection, EVERY_CALLS, {EVERY_CALLS - 1})
    assert (protection.checkpoints, protection.checkpoint_bytes) == (1, 2 * 16)
    assert protection.held_bytes == 2 * 16
    track = protection.begin(call(9), 1, 0.0)
    protection.answered(track, call(9))
    assert protection.held_bytes == 2 * 16 + 4
    protection.drop(track)
    assert (protection.held_bytes, protection.checkpoint_bytes) == (0, 32)
