"""Cores of a chip: what fits where, in numbers and in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synfire.devices import DEVICES, Cores
from synfire.devices.cores import most, together
from synfire.testing.graphs import random_graph

counts = st.integers(0, 6)


@st.composite
def cores(draw) -> Cores:
    large, small = draw(counts), draw(counts)
    return Cores(large + small, large)


@given(cores(), cores())
def test_a_need_fits_exactly_when_each_piece_can_be_put_on_a_core_that_will_do(need: Cores, room: Cores) -> None:
    large, small = room.large, room.total - room.large
    large -= need.large
    over = max(0, need.total - need.large - small)  # small pieces that have to go to large cores
    assert need.fit(room) is (not need.total or (large >= 0 and over <= large))


@given(cores(), cores())
def test_what_is_taken_and_given_back_is_as_before(one: Cores, other: Cores) -> None:
    assert one + other - other == one
    assert together([one, None, other]) == one + other
    assert one.fit(most([one, other, None]))


def test_where_nobody_counts_the_cores_there_is_room_for_any() -> None:
    assert Cores(10_000, 1).fit(None)
    assert Cores().fit(Cores())
    assert not Cores(1).fit(Cores())


@pytest.mark.parametrize(
    ("cores", "words"), [(Cores(1), "1 core"), (Cores(14, 3), "14 cores (3 large)"), (Cores(), "0 cores")]
)
def test_cores_are_told_in_words(cores: Cores, words: str) -> None:
    assert str(cores) == words


def test_a_processor_has_no_cores_that_are_counted() -> None:
    assert DEVICES["cpu"].room() is None
    assert DEVICES["cpu"].cores(random_graph(1)) is None
