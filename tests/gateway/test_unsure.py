"""A name that nothing answers is no mistake of who calls it while somebody may still ask for a model of that name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synfire.base.errors import SynfireError, TemporaryError, UnknownName
from synfire.gateway.directory import Directory
from synfire.gateway.on_demand import OnDemand
from synfire.gateway.recoveries import ToldRecoveries
from synfire.wire.messages import Standing
from synfire.wire.wish import Scale, Wish, Wished

ASKS: list[Callable[[Directory, str], Any]] = [
    lambda directory, name: directory.model(name),
    lambda directory, name: directory.answering(name),
    lambda directory, name: asyncio.run(directory.called(name)),
    lambda directory, name: asyncio.run(directory.described(name)),
]


def refusal(directory: Directory, ask: Callable[[Directory, str], Any], name: str = "net") -> SynfireError:
    with pytest.raises(SynfireError) as caught:
        ask(directory, name)
    return caught.value


@pytest.mark.parametrize("ask", ASKS)
@pytest.mark.parametrize("stored", [False, True])
def test_who_names_it_is_told_to_come_again_and_only_so_long(ask, stored, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("SYNFIRE_HOME", str(tmp_path))
    directory = Directory()
    directory.on_demand = OnDemand() if stored else None
    told = ToldRecoveries(lambda count: ())
    directory.unsure = told.unsure
    assert isinstance(refusal(directory, ask), TemporaryError)  # before there is any news
    told.hear(Standing())
    assert isinstance(refusal(directory, ask), UnknownName)
    told.hear(Standing(awaited=True))
    error = refusal(directory, ask)
    assert isinstance(error, TemporaryError)
    assert error.retry_after_s > 0
    assert "'net' takes no calls yet: this deployment has just begun, and has not been told yet" in str(error)
    told.hear(Standing(wishes=(Wished("net", Wish("net")),)))
    assert "'net' takes no calls yet: it has been asked for, and is being read" in str(refusal(directory, ask))
    assert isinstance(refusal(directory, ask, "other"), UnknownName)


@pytest.mark.parametrize(
    ("wished", "words"),
    [
        (
            Wished("net", Wish("net"), "failed", "no disk is left"),
            "asked for, and is not served as it is wanted: no disk",
        ),
        (Wished("net", Wish("net", replicas=0), "failed", "no disk is left"), ""),
        (Wished("net", Wish("net"), "leaving"), ""),
        (Wished("net", Wish("net", replicas=0), "accepted"), ""),
        (Wished("net", Wish("net"), "accepted"), "asked for"),
        (Wished("net", Wish("net", replicas=0, scale=Scale(2)), "loading"), "asked for"),
    ],
)
def test_a_model_that_was_asked_for_comes_unless_nothing_of_it_is_to_be_served(wished: Wished, words: str) -> None:
    told = ToldRecoveries(lambda count: ())
    told.hear(Standing(wishes=(wished,)))
    assert words in told.unsure("net")
    assert bool(told.unsure("net")) == bool(words)
