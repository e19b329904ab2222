"""The template is begun for `serve` alone, used once, and ended whatever comes of the command."""

from __future__ import annotations

import pytest

from synfire.cli import early, main


class Fake:
    """A template that notes that it was begun and ended."""

    def __init__(self, told: list[str]) -> None:
        self._told = told
        told.append("begun")

    def close(self) -> None:
        self._told.append("ended")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr("synfire.cli.early.Template.begin", lambda *_: Fake(found))
    return found


@pytest.mark.parametrize("words", [["ps"], ["show", "serve"], ["serve", "--help"], ["worker", "--join", "here:1"], []])
def test_other_commands_begin_none(told: list[str], words: list[str]) -> None:
    early.begin(words)
    early.end()
    assert told == []


def test_a_command_that_fails_ends_what_was_begun(told: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", "no-such-model"])
    assert ended.value.code == 2
    assert told == ["begun", "ended"]


def test_the_one_that_was_begun_is_used_and_another_one_where_there_is_none(told: list[str]) -> None:
    early.begin(["serve", "x"])
    with early.template() as first:
        assert told == ["begun"]
    assert told == ["begun", "ended"]
    with early.template() as second:
        assert second is not first
    assert told == ["begun", "ended", "begun", "ended"]
