"""Long work is told to who listens, and to nobody else."""

from __future__ import annotations

import numba
import pytest

import synfire.base.compiled  # noqa: F401  registers what tells of compiling
from synfire.base.telling import tell, told_to

Told = list[tuple[str, str, float | None]]


def test_the_innermost_listener_hears_it_and_only_while_its_block_lasts() -> None:
    outer: Told = []
    inner: Told = []
    with told_to(lambda *each: outer.append(each)):
        tell("work", "first")
        with told_to(lambda *each: inner.append(each)):
            tell("work", "second", 0.5)
        tell("work", "third", 1.0)
    tell("work", "nobody hears it")
    assert outer == [("work", "first", None), ("work", "third", 1.0)]
    assert inner == [("work", "second", 0.5)]


def test_compiling_is_told_until_it_is_done() -> None:
    part = numba.njit(lambda x: x + 1)
    whole = numba.njit(lambda x: part(x) * 2)
    told: Told = []
    with told_to(lambda *each: told.append(each)):
        assert whole(3) == 8
    assert len({which for which, _, _ in told}) == 1
    assert [share for _, _, share in told] == [None, None, 1.0]
    told.clear()
    with told_to(lambda *each: told.append(each)):
        assert whole(4) == 10
    assert told == []


def test_compiling_that_fails_is_over_too() -> None:
    broken = numba.njit(lambda x: x + "text")
    told: Told = []
    with told_to(lambda *each: told.append(each)), pytest.raises(numba.TypingError):
        broken(1)
    assert told[-1][-1] == 1.0
