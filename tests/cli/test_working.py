"""Bars are there while work is under way, and leave nothing behind."""

from __future__ import annotations

import io
from contextlib import ExitStack

import pytest
from rich.console import Console

from synfire.base.telling import tell
from synfire.cli import working
from synfire.cli.working import tasks_shown


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Standard error as a terminal."""
    found = io.StringIO()
    monkeypatch.setattr(working, "ERRORS", Console(file=found, force_terminal=True, width=100))
    return found


def drawn(screen: io.StringIO) -> str:
    """What was drawn since the last look."""
    found = screen.getvalue()
    screen.seek(0)
    screen.truncate()
    return found


def test_work_has_a_bar_until_it_is_done(screen: io.StringIO) -> None:
    with tasks_shown(quiet=False):
        assert drawn(screen) == ""
        tell("building net", "compiling [x86]", 0.0)
        assert "building net: compiling [x86]" in drawn(screen)
        tell("compiling", "3 functions")
        tell("building net", "built", 1.0)
        left = drawn(screen)
        assert "compiling: 3 functions" in left
        tell("compiling", "compiled", 1.0)
        drawn(screen)
        tell("nothing of the kind", "is over", 1.0)
        assert drawn(screen) == ""


def test_work_that_fails_leaves_the_terminal_as_it_was(screen: io.StringIO) -> None:
    hidden, shown = "\x1b[?25l", "\x1b[?25h"
    failing = ExitStack()
    failing.enter_context(tasks_shown(quiet=False))
    tell("building net", "compiling", 0.0)
    failing.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
    found = drawn(screen)
    assert found.count(hidden) == found.count(shown) == 1
    assert found.rindex(shown) > found.rindex("building net")


def test_nothing_is_drawn_where_it_shall_be_quiet(screen: io.StringIO) -> None:
    with tasks_shown(quiet=True):
        tell("building net", "compiling", 0.0)
    assert drawn(screen) == ""


def test_nothing_is_drawn_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(working, "ERRORS", Console(file=file))
    with tasks_shown(quiet=False):
        tell("building net", "compiling", 0.0)
    assert file.getvalue() == ""
