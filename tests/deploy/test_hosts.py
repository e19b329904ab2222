"""Workers that were cut off with their host: called upon until they answer, but not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from synfire.base.errors import TemporaryError
from synfire.deploy import hosts
from synfire.deploy.hosts import MOST_CALLS, returned
from synfire.gateway.peer import WorkerPeer


def calls_until_given_up(monkeypatch: pytest.MonkeyPatch, reachable: Iterator[bool], lives: int = 10_000) -> int:
    """How often a worker is called upon that never answers, and whose process ends after so many calls."""
    monkeypatch.setattr(hosts, "REACH_S", 0.0)
    calls = 0

    async def reach(greeting_s: float) -> WorkerPeer:
        nonlocal calls
        calls += 1
        raise TemporaryError("it is silent; try again")

    assert asyncio.run(returned(reach, lambda: calls < lives, lambda: next(reachable))) is None
    return calls


def test_a_worker_is_called_upon_as_long_as_its_host_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert calls_until_given_up(monkeypatch, iter([False] * 500), lives=500) == 500


def test_a_worker_that_hangs_on_a_host_that_is_back_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    assert calls_until_given_up(monkeypatch, iter([False] * 30 + [True] * 100)) == 30 + MOST_CALLS


def test_a_host_that_is_cut_off_again_gives_its_workers_time_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert calls_until_given_up(monkeypatch, iter([True] * 9 + [False] + [True] * 100)) == 10 + MOST_CALLS
