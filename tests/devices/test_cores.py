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


rates = st.none() | st.integers(0, 6)


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


@given(cores(), rates, rates)
def test_events_fit_where_they_are_not_asked_for_or_not_counted_or_there(
    need: Cores, asked: int | None, there: int | None
) -> None:
    need = Cores(need.total, need.large, asked)
    borne = asked is None or there is None or asked <= there
    assert need.fit(Cores(need.total, need.large, there)) is (borne or not need.total)


def test_events_of_several_are_added_and_taken_off_what_is_there() -> None:
    needs = [Cores(1, 0, 30), Cores(2), None, Cores(4, 0, 12)]
    assert together(needs) == Cores(7, 0, 42)
    assert most(needs) == Cores(4, 0, 30)
    assert together([Cores(1), Cores(2)]).keps is most([Cores(1)]).keps is None
    assert (Cores(9, 0, 100) - together(needs), Cores(9) - together(needs)) == (Cores(2, 0, 58), Cores(2))
    assert not Cores(1, 0, 1).fit(Cores(9, 0, -3))
    assert Cores(1).fit(Cores(9, 0, -3))


def test_where_nobody_counts_the_cores_there_is_room_for_any() -> None:
    assert Cores(10_000, 1).fit(None)
    assert Cores().fit(Cores())
    assert not Cores(1).fit(Cores())


@pytest.mark.parametrize(
    ("cores", "words"),
    [
        (Cores(1), "1 core"),
        (Cores(14, 3), "14 cores (3 large)"),
        (Cores(), "0 cores"),
        (Cores(2, 0, 120), "2 cores and 120 KEPS"),
    ],
)
def test_cores_are_told_in_words(cores: Cores, words: str) -> None:
    assert str(cores) == words


def test_a_processor_has_no_cores_that_are_counted() -> None:
    assert DEVICES["cpu"].room() is None
    assert DEVICES["cpu"].cores(random_graph(1)) is None
    assert DEVICES["cpu"].events(random_graph(1), {}) == 0
