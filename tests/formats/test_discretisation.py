"""The choices of a discretisation."""

import json

import pytest

from synfire.base.errors import UnknownName, UserError
from synfire.formats.discretisation import PRESETS, Discretisation, discretisation


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_preset_leaves_the_time_step_open_and_travels_as_json(name):
    preset = PRESETS[name]
    assert preset.name == name
    with pytest.raises(UserError, match="pass dt_s="):
        discretisation(name)
    chosen = discretisation(name, 1e-4)
    assert Discretisation.from_json(json.loads(json.dumps(chosen.to_json()))) == chosen
    assert "dt 0.0001 s" in str(chosen)


def test_ones_own_choices_are_taken_as_they_are():
    mine = PRESETS["norse"].with_(name="mine", reset="soft", dt_s=1e-3)
    assert discretisation(mine) is mine
    assert discretisation(mine, 2e-3).dt_s == 2e-3


@pytest.mark.parametrize(
    ("make", "cure"),
    [
        (lambda: Discretisation("mine", order="first come"), "choose one of 'current_first'"),
        (lambda: Discretisation("mine", dt_s=0.0), "above 0"),
        (lambda: Discretisation("mine", dt_s=float("nan")), "above 0"),
        (lambda: Discretisation.from_json({"name": "mine", "colour": "red"}), "no choice \\['colour'\\]"),
        (lambda: discretisation("nest", 1e-3), "known: euler"),
    ],
)
def test_what_is_no_choice_is_refused(make, cure):
    with pytest.raises(UserError, match=cure):
        make()


def test_an_unknown_preset_is_an_unknown_name():
    with pytest.raises(UnknownName):
        discretisation("brian", 1e-3)
