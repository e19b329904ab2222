"""Which packages an engine's environment lacks, synfire's own or another one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from synfire.base.errors import PermanentError
from synfire.engines.language.environment import Environment

WANTED = Environment(
    "SYNFIRE_TEST_PYTHON", ("json", "nobody.intel", "json.nothing", "concurrent.futures"), "install them"
)
LACKING = ("nobody.intel", "json.nothing")


def test_a_part_of_a_package_that_is_not_there_is_missing_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(WANTED.variable, raising=False)
    assert WANTED.missing() == LACKING


def test_a_part_of_a_package_that_is_not_there_is_missing_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = tmp_path / "python"
    other.symlink_to(sys.executable)
    monkeypatch.setenv(WANTED.variable, str(other))
    assert WANTED.missing() == LACKING
    assert WANTED.refusal() == (
        f"nobody.intel and json.nothing not installed for {other}: install them; or name the Python of an environment that has them in "
        "SYNFIRE_TEST_PYTHON"
    )


def test_what_does_not_run_as_a_python_is_said_to_be_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(WANTED.variable, str(tmp_path))
    with pytest.raises(PermanentError, match="does not run as a Python"):
        WANTED.missing()


def test_packages_are_found_here_and_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(WANTED.variable, raising=False)
    here = WANTED.folder("json")
    assert here is not None
    assert (here / "decoder.py").is_file()
    other = tmp_path / "python"
    other.symlink_to(sys.executable)
    monkeypatch.setenv(WANTED.variable, str(other))
    assert WANTED.folder("json") == here
    assert WANTED.folder("nobody") is None
