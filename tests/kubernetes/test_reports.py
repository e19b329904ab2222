"""Devices, labels and preferences, from what chips report."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synfire.base.errors import UserError
from synfire.kubernetes.device_plugin import near
from synfire.kubernetes.device_plugin.near import preferred
from synfire.kubernetes.device_plugin.report import Report, Sharing, announced, free_cores, labels

WELL = Report(
    "darwin3-0", (0, 0), True, {"big": 287, "little": 288}, 575, neurons_per_core=4096, events_per_s=5_872_345.0
)


def test_a_whole_chip_is_healthy_while_nine_tenths_of_its_cores_are() -> None:
    def healthy(cores: int) -> bool:
        (device,) = announced([Report("c", (0, 0), True, {"big": cores}, 575)], Sharing())
        return device.healthy

    assert [healthy(cores) for cores in (575, 517, 516)] == [True, True, False]


def test_a_dead_chip_is_announced_as_unhealthy() -> None:
    assert [each.healthy for each in announced([Report("c", (0, 0), False, {"big": 0}, 575)], Sharing(5))] == [
        False
    ] * 5


@given(st.integers(1, 575), st.integers(0, 575))
def test_healthy_parts_never_stand_for_more_cores_than_are_usable(parts: int, usable: int) -> None:
    devices = announced([Report("c", (0, 0), True, {"big": usable}, 575)], Sharing(parts))
    healthy = [each for each in devices if each.healthy]
    assert sum(each.cores for each in healthy) <= usable
    assert len(healthy) == parts or sum(each.cores for each in healthy) + devices[0].cores > usable


def test_parts_of_a_chip_stand_for_even_shares_of_the_events_that_it_took() -> None:
    assert [each.keps for each in announced([WELL], Sharing())] == [5872]
    assert [each.keps for each in announced([WELL], Sharing(parts=5))] == [1174] * 5
    assert [each.keps for each in announced([replace(WELL, events_per_s=0.0)], Sharing())] == [0]


def test_a_share_that_no_chip_has_is_refused() -> None:
    with pytest.raises(UserError, match="3 devices of 200 cores do not fit a chip of 575; ask for fewer"):
        announced([WELL], Sharing(3, 200))


def test_labels_count_what_can_be_used() -> None:
    dead = Report("darwin3-1", (1, 0), False, {"big": 0, "little": 0}, 575)
    assert labels([WELL, dead], "zj.com/darwin3") == {
        "zj.com/darwin3.chips": "2",
        "zj.com/darwin3.chips-alive": "1",
        "zj.com/darwin3.cores-big": "287",
        "zj.com/darwin3.cores-little": "288",
        "zj.com/darwin3.neurons": "2355200",
        "zj.com/darwin3.keps": "5900",
        "zj.com/darwin3.emulated": "true",
    }


def test_cores_are_free_that_no_container_has_and_that_one_could_be_given() -> None:
    reports = [WELL, replace(WELL, chip="darwin3-1", cores={"big": 100, "little": 100})]
    whole = announced(reports, Sharing())
    assert free_cores(reports, whole, ()) == {"big": 287, "little": 288}  # too few are left of the other chip
    assert free_cores(reports, whole, {"darwin3-0"}) == {"big": 0, "little": 0}
    parts = announced([WELL], Sharing(parts=5))
    assert free_cores([WELL], parts, {"darwin3-0.3", "darwin3-1.0"}) == {"big": 229, "little": 230}


def test_a_square_is_preferred_to_a_row() -> None:
    places = {f"{x}{y}": (x, y) for y in range(2) for x in range(4)}
    assert sorted(preferred(list(places), [], 4, places)) == ["00", "01", "10", "11"]


def test_parts_of_one_chip_are_preferred() -> None:
    places = {"a.0": (0, 0), "b.0": (1, 0), "a.1": (0, 0)}
    assert preferred(list(places), [], 2, places) == ["a.0", "a.1"]


@st.composite
def boards(draw: st.DrawFn) -> tuple[dict[str, tuple[int, int]], list[str], int]:
    size = draw(st.integers(1, 9))
    places = {f"c{n}": (draw(st.integers(0, 5)), draw(st.integers(0, 5))) for n in range(size)}
    included = draw(st.lists(st.sampled_from(list(places)), unique=True, max_size=size))
    return places, included, draw(st.integers(len(included), size))


@given(boards())
def test_what_is_preferred_has_the_fewest_hops_of_all_choices(board: tuple) -> None:
    places, included, size = board

    def hops(chosen: tuple[str, ...] | list[str]) -> int:
        pairs = itertools.combinations([places[each] for each in chosen], 2)
        return sum(abs(one[0] - other[0]) + abs(one[1] - other[1]) for one, other in pairs)

    chosen = preferred(list(places), included, size, places)
    every = [each for each in itertools.combinations(places, size) if set(included) <= set(each)]
    assert len(set(chosen)) == size
    assert set(included) <= set(chosen)
    assert hops(chosen) == min(map(hops, every))


@given(boards())
def test_a_board_that_is_too_large_for_all_choices_is_answered_from_groups_that_grow(board: tuple) -> None:
    places, included, size = board
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near, "TRIED", 1)
        chosen = preferred(list(places), included, size, places)
    assert (len(set(chosen)), set(included) <= set(chosen)) == (size, True)
