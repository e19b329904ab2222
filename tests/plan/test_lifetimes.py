"""The simulation of a pool of spares, and whether the formula agrees with it."""

from __future__ import annotations

import pytest

from synfire.base.errors import UserError
from synfire.plan.lifetimes import play
from synfire.plan.spares import Rates, shared

ERRORS = 4 / 1.96
"""Four standard errors in half-widths of the interval: what one seed in 16,000 exceeds."""


@pytest.mark.parametrize(
    ("slots", "spares", "rates"),
    [
        (60, 2, Rates()),
        (60, 3, Rates(crews=2)),
        (10, 1, Rates(crews=1, standby=1.0)),
        (10, 2, Rates(mttf_h=100, standby=0.0)),
        (1, 0, Rates(mttf_h=240)),
    ],
)
def test_the_formula_agrees_with_units_that_live_and_die(slots: int, spares: int, rates: Rates) -> None:
    played = play(slots, spares, rates, seed=1, events=400_000)
    formula, half = shared(slots, spares, rates), (played.high - played.low) / 2
    assert abs(played.served - formula.served) < ERRORS * half
    assert half < 0.05 * formula.short, "the simulation is too coarse to tell"


def test_the_formula_agrees_where_outages_are_rare() -> None:
    played = play(60, 6, Rates(), seed=2)
    assert played.outages > 30
    assert played.low <= shared(60, 6, Rates()).served <= played.high


def test_the_simulation_tells_one_spare_from_two() -> None:
    played = play(60, 2, Rates(), seed=3, events=100_000)
    assert not played.low <= shared(60, 1, Rates()).served <= played.high
    assert not played.low <= shared(60, 3, Rates()).served <= played.high


def test_a_seed_gives_the_same_answer_again_and_another_seed_another() -> None:
    first, again, other = (play(10, 1, Rates(), seed, events=20_000) for seed in (4, 4, 5))
    assert first == again
    assert first.served != other.served


def test_without_an_outage_the_interval_says_what_may_have_been_missed() -> None:
    played = play(2, 6, Rates(), events=20_000)
    assert (played.outages, played.served, played.high) == (0, 1.0, 1.0)
    assert played.low == pytest.approx(1 - 3 * 24 / played.hours)


def test_a_pool_too_large_to_play_is_refused() -> None:
    with pytest.raises(UserError, match="simulate a smaller fleet"):
        play(100_000, 1400, Rates())
