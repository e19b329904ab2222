"""Who stays in memory, who goes: stories without a clock."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synfire.base.errors import PermanentError, TemporaryError
from synfire.control.residence import Resident, Room, making_room, next_due_s, overdue

PLENTY = 10**12


def resident(name: str, size: int = 10, used_s: float = 0.0, keep_s: float = 300.0, busy: bool = False) -> Resident:
    return Resident(name, size, used_s, keep_s, busy)


def room(memory: int = PLENTY, free: int = PLENTY, models: int | None = None) -> Room:
    return Room(memory, free, models)


def names(found: tuple[Resident, ...] | None) -> list[str] | None:
    return None if found is None else [each.name for each in found]


def test_a_model_goes_when_nobody_has_called_it_for_its_time() -> None:
    there = (resident("a", used_s=10.0), resident("b", used_s=5.0), resident("c", keep_s=math.inf))
    assert next_due_s(there) == 305.0
    assert overdue(there, 304.9) == ()
    assert names(overdue(there, 310.0)) == ["b", "a"]


def test_a_busy_model_stays_however_long_it_takes() -> None:
    assert overdue((resident("a", keep_s=0.0, busy=True),), 1e9) == ()
    assert next_due_s((resident("a", keep_s=0.0, busy=True),)) == math.inf


def test_a_model_that_is_kept_for_no_time_goes_at_once() -> None:
    assert names(overdue((resident("a", used_s=7.0, keep_s=0.0),), 7.0)) == ["a"]


def test_nobody_goes_where_there_is_room() -> None:
    assert making_room("new", 10, [resident("a")], room(20)) == ()


def test_the_one_that_was_called_the_longest_ago_makes_room() -> None:
    there = [resident("late", used_s=3.0), resident("early", used_s=1.0), resident("middle", used_s=2.0)]
    assert names(making_room("new", 10, there, room(30))) == ["early"]
    assert names(making_room("new", 20, there, room(30))) == ["early", "middle"]
    assert names(making_room("new", 10, there, room(models=3))) == ["early"]


def test_models_of_a_lower_priority_go_first_and_those_above_never() -> None:
    there = [replace(resident("early", used_s=1.0), priority=5), resident("late", used_s=9.0)]
    assert names(making_room("new", 10, there, room(20), priority=5)) == ["late"]
    assert names(making_room("new", 20, there, room(20), priority=5)) == ["late", "early"]
    with pytest.raises(TemporaryError, match="models of a priority above its own, 0, have the room: early; call again"):
        making_room("new", 20, there, room(20))


def test_a_model_above_what_one_may_take_is_refused_with_both_numbers() -> None:
    with pytest.raises(
        PermanentError, match=r"takes 4 GB to run, and a model of the store may take 2 GB.*--memory-model"
    ):
        making_room("new", 4 * 10**9, [], replace(room(), model_bytes=2 * 10**9))


def test_nobody_goes_in_vain() -> None:
    there = [resident("small", 1, used_s=1.0), resident("large", 90, used_s=2.0)]
    assert names(making_room("new", 90, there, room(100))) == ["large"]


def test_a_model_waits_for_one_that_is_busy() -> None:
    there = [resident("busy", 20, busy=True), resident("idle", 5)]
    assert making_room("new", 20, there, room(30)) is None
    assert names(making_room("new", 10, there, room(30))) == ["idle"]


def test_what_does_not_fit_alone_is_refused_with_both_numbers() -> None:
    with pytest.raises(
        PermanentError, match=r"takes 4 GB to run, and all models may take 2 GB together.*--memory-models"
    ):
        making_room("new", 4 * 10**9, [], room(2 * 10**9))


def test_memory_that_other_programs_have_is_told_as_theirs() -> None:
    with pytest.raises(TemporaryError, match=r"takes 4 GB to run, and 1 GB are free on this machine.*stop another"):
        making_room("new", 4 * 10**9, [resident("a", 10**9)], room(free=10**9))


MODELS = st.lists(
    st.builds(
        Resident,
        st.uuids().map(str), st.integers(1, 50), st.integers(0, 100).map(float), st.just(300.0), st.booleans(),
    ),
    max_size=6,
)  # fmt: skip


@given(MODELS, st.integers(1, 60), st.integers(1, 200), st.none() | st.integers(1, 6))
def test_what_goes_is_idle_suffices_and_none_of_it_could_stay(
    there: list[Resident], need: int, memory: int, models: int | None
) -> None:
    limits = room(memory, models=models)
    if need > memory:
        return
    try:
        going = making_room("new", need, there, limits)
    except TemporaryError:
        assert not any(each.busy for each in there)
        return
    if going is None:
        assert any(each.busy for each in there)
        idle = [each for each in there if not each.busy]
        assert not limits.holds([each for each in there if each.busy], idle, need)
        return
    assert not any(each.busy for each in going)
    assert limits.holds([each for each in there if each not in going], going, need)
    for one in going:
        others = [each for each in going if each is not one]
        assert not limits.holds([each for each in there if each not in others], others, need)
