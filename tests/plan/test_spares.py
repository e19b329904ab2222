"""Sizing a pool of warm spares."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synfire.base.errors import UserError
from synfire.plan.spares import Odds, Rates, deal, dedicated, dedicated_for, failed_units, shared, size, spares_for

PUBLISHED = Rates(mttf_h=2000, mttr_h=24, standby=0.3)
"""The rates of the published example: 6 models of 10 operators."""

SIX_MODELS = [10] * 6

rates = st.builds(
    Rates,
    mttf_h=st.floats(100, 1e5),
    mttr_h=st.floats(0.1, 100),
    standby=st.floats(0, 1),
    crews=st.none() | st.integers(1, 5),
)


def balance(slots: int, spares: int, given: Rates) -> np.ndarray:
    """The same shares from the balance equations p·Q = 0, Σ p = 1, whose Q is filled in unit by unit."""
    units = slots + spares
    flow = np.zeros((units + 1, units + 1))
    for failed in range(units + 1):
        working = units - failed
        serving = min(slots, working)
        if working:
            flow[failed, failed + 1] = (serving + (working - serving) * given.standby) / given.mttf_h
        if failed:
            flow[failed, failed - 1] = min(failed, given.crews or failed) / given.mttr_h
    flow -= np.diag(flow.sum(axis=1))
    system = np.vstack([flow.T, np.ones(units + 1)])
    return np.linalg.lstsq(system, np.eye(units + 2)[-1], rcond=None)[0]


def test_one_dedicated_spare_for_each_of_six_models_serves_all_95_99_percent_of_the_time() -> None:
    assert dedicated(SIX_MODELS, [1] * 6, PUBLISHED).served == pytest.approx(0.9599, abs=5e-5)


@pytest.mark.parametrize(("spares", "served", "within"), [(2, 0.963, 5e-4), (3, 0.9935, 1e-4), (6, 0.999988, 1e-6)])
def test_shared_spares_give_the_published_figures(spares: int, served: float, within: float) -> None:
    assert shared(60, spares, PUBLISHED).served == pytest.approx(served, abs=within)


def test_two_shared_spares_beat_six_dedicated_ones() -> None:
    assert shared(60, 2, PUBLISHED).served > dedicated(SIX_MODELS, [1] * 6, PUBLISHED).served


def test_four_nines_take_six_shared_spares_or_eighteen_dedicated_ones() -> None:
    found = size(SIX_MODELS, 0.9999, PUBLISHED)
    assert (found.spares, found.same, found.enough) == (6, (1,) * 6, (3,) * 6)
    assert not shared(60, 5, PUBLISHED).reaches(0.9999)
    assert not dedicated(SIX_MODELS, [3] * 5 + [2], PUBLISHED).reaches(0.9999)


@given(st.integers(1, 8), st.integers(0, 6), rates)
def test_the_product_formula_solves_the_balance_equations(slots: int, spares: int, given_rates: Rates) -> None:
    assert failed_units(slots, spares, given_rates) == pytest.approx(balance(slots, spares, given_rates), abs=1e-9)


@given(st.integers(1, 12), st.integers(0, 6), st.floats(10, 1e4), st.floats(0.1, 100))
def test_spares_that_fail_like_the_rest_make_it_a_binomial(slots: int, spares: int, up_h: float, down_h: float) -> None:
    units, down = slots + spares, Fraction(down_h) / (Fraction(up_h) + Fraction(down_h))
    served = sum(math.comb(units, j) * down**j * (1 - down) ** (units - j) for j in range(spares + 1))
    assert shared(slots, spares, Rates(up_h, down_h, standby=1.0)).served == pytest.approx(float(served), rel=1e-9)


@given(st.integers(1, 40), st.integers(0, 12), rates)
def test_another_spare_never_harms(slots: int, spares: int, given_rates: Rates) -> None:
    now, then = shared(slots, spares, given_rates), shared(slots, spares + 1, given_rates)
    assert then.short <= now.short * (1 + 1e-9)


@given(st.integers(1, 40), st.integers(0, 12), rates)
def test_served_and_short_share_out_all_time(slots: int, spares: int, given_rates: Rates) -> None:
    odds = shared(slots, spares, given_rates)
    assert odds.served + odds.short == pytest.approx(1)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=5), st.integers(0, 8), rates)
def test_a_shared_pool_is_at_least_as_good_as_any_split_of_it_with_a_crew_for_each_unit(
    models: list[int], spares: int, given_rates: Rates
) -> None:
    free = Rates(given_rates.mttf_h, given_rates.mttr_h, given_rates.standby)
    own = dedicated(models, deal(models, spares, free), free)
    assert shared(sum(models), spares, free).short <= own.short * (1 + 1e-9)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=3), st.integers(0, 5), rates)
def test_spares_are_dealt_out_as_well_as_can_be(models: list[int], spares: int, given_rates: Rates) -> None:
    splits = [split for split in itertools.product(range(spares + 1), repeat=len(models)) if sum(split) == spares]
    best = min(dedicated(models, split, given_rates).short for split in splits)
    dealt = deal(models, spares, given_rates)
    assert sum(dealt) == spares
    assert dedicated(models, dealt, given_rates).short <= best * (1 + 1e-9)


@given(st.integers(1, 60), st.floats(0.5, 0.999999), st.floats(0, 1))
def test_the_number_found_is_the_least(slots: int, target: float, standby: float) -> None:
    given_rates = Rates(standby=standby)
    number = spares_for(slots, target, given_rates)
    assert shared(slots, number, given_rates).reaches(target)
    assert number == 0 or not shared(slots, number - 1, given_rates).reaches(target)


def test_pools_that_are_almost_never_short_are_still_told_apart() -> None:
    nearly = Odds(1.0, 1e-20)
    assert (nearly & nearly).short == pytest.approx(2e-20)
    assert 0 < shared(2, 12, PUBLISHED).short < shared(2, 11, PUBLISHED).short < 1e-18


def test_a_hundred_thousand_slots_stay_within_a_floats_range() -> None:
    assert failed_units(100_000, 1400, PUBLISHED).sum() == pytest.approx(1)


def test_crews_that_cannot_keep_up_are_refused_with_the_numbers() -> None:
    with pytest.raises(UserError, match=r"600 slots.*7.2 units fail a day.*crews=2 repair 2 at most; add crews"):
        spares_for(600, 0.9999, Rates(crews=2))
    with pytest.raises(UserError, match="add crews"):
        dedicated_for([600, 600], 0.9999, Rates(crews=2))


@given(st.lists(st.integers(1, 8), min_size=1, max_size=3), rates)
def test_what_one_pool_can_reach_pools_with_as_many_crews_each_can_too(models: list[int], given_rates: Rates) -> None:
    limit = shared(sum(models), 2000, given_rates)
    assert dedicated(models, [2000] * len(models), given_rates).short <= limit.short * (1 + 1e-9)


@pytest.mark.slow
def test_a_fleet_beyond_any_pool_is_refused() -> None:
    with pytest.raises(UserError, match="size a smaller fleet"):
        spares_for(10_000_000, 0.9999, PUBLISHED)


@pytest.mark.parametrize("target", [0.0, 1.0, -1.0, 99.99, math.nan])
def test_a_target_outside_zero_to_a_hundred_percent_is_refused(target: float) -> None:
    with pytest.raises(UserError, match="less than 100 %"):
        spares_for(10, target, PUBLISHED)


@pytest.mark.parametrize(
    ("setting", "cure"),
    [
        ({"mttf_h": 0.0}, "above 0"),
        ({"mttr_h": math.inf}, "above 0"),
        ({"mttf_h": math.nan}, "above 0"),
        ({"standby": 1.5}, "0 to 1 times"),
        ({"crews": 0}, "give 1 or more"),
    ],
)
def test_rates_that_mean_nothing_are_refused(setting: dict[str, float], cure: str) -> None:
    with pytest.raises(UserError, match=cure):
        Rates(**setting)  # type: ignore[arg-type]


def test_a_pool_without_slots_is_refused() -> None:
    with pytest.raises(UserError, match="give 1 slot or more"):
        shared(0, 1, PUBLISHED)
