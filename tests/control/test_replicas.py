"""Replicas of one model keep off each other's workers as long as others can be had."""

from __future__ import annotations

from stories import homes, lost, plan, serving, told, until_quiet

from synfire.control import events


def twice(**changes):
    """A model in two replicas, each on a worker of its own, beside another one."""
    plans = plan("net#1", "w0", size=10), plan("net#2", "w1", size=10), plan("other", "w2", size=10)
    return serving(*plans, workers=("w0", "w1", "w2"), **changes)


def test_a_lost_replica_goes_beside_another_model_and_not_beside_its_like():
    state, log = until_quiet(told(twice(), lost("w0")), no_starts=True)
    assert homes(state, "net#1") == ["w2"]
    assert not [each for each in log if isinstance(each, events.GiveUp)]


def test_a_new_worker_is_waited_for_where_only_its_like_has_room():
    state, _ = until_quiet(told(twice(), lost("w0", cause="exit"), lost("w2")))
    assert "w1" not in homes(state, "net#1")
    assert homes(state, "net#2") == ["w1"]


def test_two_replicas_share_a_worker_where_no_other_one_can_be_had():
    state, _ = until_quiet(told(twice(), lost("w0"), lost("w2")), no_starts=True)
    assert (homes(state, "net#1"), homes(state, "net#2")) == (["w1"], ["w1"])
