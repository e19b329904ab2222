"""Numbers between bounds: the grammar is read as a regular expression, and asked which numbers it has."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from synfire.engines.language.grammar_numbers import decimal, whole

NUMBERS = st.one_of(st.integers(-30, 30), st.integers(-3000, 3000), st.integers(-(10**9), 10**9))
BOUNDS = st.one_of(st.none(), NUMBERS)


def has(grammar: str, text: str) -> bool:
    """Whether the text is one of the grammar, which has no names in it."""
    pattern = re.sub(r'"(.*?)"', lambda found: re.escape(found[1]), grammar).replace(" ", "")
    return re.fullmatch(pattern, text) is not None


def within(value: Decimal | int, low: int | None, high: int | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)


@given(BOUNDS, BOUNDS, NUMBERS)
def test_a_whole_number_is_there_where_it_is_within_the_bounds(low, high, number):
    assume(low is None or high is None or low <= high)
    assert has(whole(low, high), str(number)) == within(number, low, high)


@given(NUMBERS, st.integers(0, 400), st.integers(-2, 402))
def test_the_edges_of_a_range_are_where_they_belong(low, size, step):
    assert has(whole(low, low + size), str(low + step)) == (0 <= step <= size)


@given(BOUNDS, BOUNDS, st.decimals(-400, 400, places=2))
def test_a_number_is_there_where_it_is_within_the_bounds(low, high, number):
    assume(low is None or high is None or low <= high)
    assert has(decimal(low, high), str(number)) == within(number, low, high) or number == 0


@given(NUMBERS, st.integers(0, 50), st.integers(-100, 5100))
def test_fractions_stay_within_the_bounds(low, size, hundredths):
    number = low + Decimal(hundredths) / 100
    if has(decimal(low, low + size), f"{number:.2f}"):
        assert within(number, low, low + size)


@pytest.mark.parametrize("text", ["007", "-0", "+1", "1.", ".5", "1e5", ""])
def test_what_is_no_number_of_json_is_not_there(text):
    assert not has(whole(None, None), text)
    assert not has(decimal(-20, 20), text) or text == "-0"


def test_digits_are_told_one_by_one():
    assert whole(17, 254) == '(("1" [7-9] | [2-9] [0-9]) | ("1" [0-9]{2} | "2" ([0-4] [0-9] | "5" [0-4])))'
    assert decimal(0, 1) == '("0" ("." [0-9]{1,16})? | "1" ("." "0"{1,16})?)'
