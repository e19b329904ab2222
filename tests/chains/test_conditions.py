"""Conditions: what they compare, and that nothing else of Python is in them."""

from __future__ import annotations

from typing import Any

import pytest

from synfire.base.errors import UserError
from synfire.chains.chain import Place
from synfire.chains.conditions import holds, places_in

VALUES: dict[Place, Any] = {
    Place("digit"): 7,
    Place("say", "text"): "loud",
    Place("read", "scores"): [0.1, 0.9],
    Place("request", "flag"): True,
}


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("", True),
        ("digit == 7", True),
        ("digit != 7", False),
        ("5 < digit <= 7", True),
        ("5 < digit <= 6", False),
        ("digit in [1, 3, 7]", True),
        ("digit not in (1, 3, 7)", False),
        ("say.text == 'loud' and read.scores[1] > 0.5", True),
        ("'ou' in say.text or digit == 1", True),
        ("not request.flag", False),
        ("read.scores[-1] > -1", True),
    ],
)
def test_a_condition_compares_values_of_the_chain(condition: str, expected: bool) -> None:
    assert holds(condition, VALUES.__getitem__) is expected


def test_the_places_of_a_condition_are_found_once_each() -> None:
    assert places_in("digit == 1 or (digit > 3 and say.text == 'x')") == (Place("digit"), Place("say", "text"))


@pytest.mark.parametrize(
    "condition",
    ["digit()", "digit + 1 == 8", "lambda: 1", "[each for each in digit]", "digit.a.b == 1", "digit[say] == 1", "digit is 7", "f'{digit}'", "digit if digit else 1", "x := 1", "digit == 1j", "digit[0:1] == 7"],
)  # fmt: skip
def test_nothing_else_of_python_is_a_condition(condition: str) -> None:
    with pytest.raises(UserError, match=r"the condition .* (holds .*; it may compare|cannot be read)"):
        places_in(condition)


@pytest.mark.parametrize("condition", ["digit ==", "", "a" * 1001, "(" * 300])
def test_what_is_no_condition_is_refused(condition: str) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        places_in(condition)


@pytest.mark.parametrize("condition", ["digit < 'x'", "read.scores[9] == 1", "1 in digit"])
def test_values_that_cannot_be_compared_are_named(condition: str) -> None:
    with pytest.raises(UserError, match="cannot be decided"):
        holds(condition, VALUES.__getitem__)
