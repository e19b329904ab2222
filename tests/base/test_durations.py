"""Durations are read as Ollama reads them."""

from __future__ import annotations

import math

import pytest

from synfire.base.durations import parse_duration, written
from synfire.base.errors import UserError


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("5m", 300.0), ("1h30m", 5400.0), ("90s", 90.0), ("300ms", 0.3), ("1.5h", 5400.0), ("0", 0.0), ("12", 12.0), (7, 7.0),
        (0, 0.0), ("-1", math.inf), (-1, math.inf), ("-5m", math.inf), (" 2m ", 120.0),
    ],
)  # fmt: skip
def test_durations_are_read_in_every_form(given: str | float, seconds: float) -> None:
    assert parse_duration(given) == seconds


@pytest.mark.parametrize("given", ["", "m", "5 m", "five minutes", "5m!", "1h-5m", "nan", math.nan])
def test_what_is_no_duration_is_refused_with_its_name(given: str | float) -> None:
    with pytest.raises(UserError, match=r"keep_alive is .* write it as 5m"):
        parse_duration(given, "keep_alive")


def test_a_duration_is_written_for_people() -> None:
    assert [written(each) for each in (0, 59.6, 299, 3600, math.inf)] == ["0s", "1m", "4m59s", "1h", "for ever"]
