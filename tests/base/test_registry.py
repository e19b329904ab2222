"""Registries: what is loaded for a look-up, and what is said of names that nothing has."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from synfire.base.errors import Bug, UnknownName
from synfire.base.registry import Registry

MODULES = {
    "__init__": "THINGS = None",
    "one_thing": "import things\nthings.THINGS.add('OneThing', 1)",
    "two": "import things\nthings.THINGS.add('two', 2)\nthings.THINGS.add('two-more', 3)",
}


@pytest.fixture
def things(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry[int]]:
    (tmp_path / "things").mkdir()
    for name, text in MODULES.items():
        (tmp_path / "things" / f"{name}.py").write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(str(tmp_path))
    import things as package

    package.THINGS = registry = Registry[int]("thing", "things", "synfire.no_such_group")
    yield registry
    for name in [each for each in sys.modules if each.partition(".")[0] == "things"]:
        del sys.modules[name]


def loaded() -> set[str]:
    return {each.removeprefix("things.") for each in sys.modules if each.startswith("things.")}


def test_what_has_the_name_of_its_module_needs_no_other_one(things):
    assert things["OneThing"] == 1
    assert loaded() == {"one_thing"}
    assert "two" in things
    assert things.get("two") == 2
    assert loaded() == {"one_thing", "two"}


def test_other_names_are_looked_for_everywhere(things):
    assert things["two-more"] == 3
    assert loaded() == {"one_thing", "two"}
    assert list(things) == ["OneThing", "two", "two-more"]


def test_a_name_is_that_of_the_thing_and_not_of_its_module(things):
    assert "one-thing" not in things
    assert things.get("One_Thing") is None
    with pytest.raises(UnknownName, match=r"one_thing.*OneThing"):
        things["one_thing"]


def test_two_things_of_one_name_are_a_bug(things):
    things.add("two", 4)
    with pytest.raises(Bug, match="two things are named 'two'"):
        things["two"]
