"""Whose silence is a failure, and how long a first beat may take."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from synfire.control.suspicion import Heartbeats
from synfire.deploy import heartbeat
from synfire.deploy.heartbeat import ACKNOWLEDGED_S, FIRST_S, HUNG_S, Heartbeat
from synfire.testing.callers import until
from synfire.testing.clock import FakeClock
from synfire.wire.links import SocketLink, accept, listen
from synfire.wire.messages import Beat
from synfire.wire.stream import Packet

SILENCE_S = 0.2
"""Nobody who beats is silent for so long."""


def listening(
    monkeypatch: pytest.MonkeyPatch,
    story: Callable[[Heartbeat, SocketLink, FakeClock], None],
    starved: bool | None = False,
) -> list[str]:
    """The story of a worker that is expected to beat along a link, and is `starved` or not; those who were suspected in it."""
    clock, suspected = FakeClock(), []
    monkeypatch.setattr(heartbeat, "time", SimpleNamespace(monotonic=clock.now_s))

    async def main() -> None:
        beats = Heartbeat(Heartbeats(), lambda name, why, last_s: suspected.append(why), lambda name: starved)
        listener, address = listen("tcp://127.0.0.1:0")
        with listener:
            beats.follow("w", address, "d", "c")
            listener.setblocking(True)
            link = accept(listener, address, "whoever listens")
            story(beats, link, clock)
            link.close()
        beats.close()

    asyncio.run(main())
    return suspected


def began(beats: Heartbeat, link: SocketLink, clock: FakeClock) -> None:
    """The worker beats once."""
    clock.advance(FIRST_S)
    link.send(Packet(Beat()))
    assert not beats.confirm("w")


def acknowledged(beats: Heartbeat) -> None:
    """Wait until the kernel has acknowledged what was sent to the worker, which reads none of it."""
    until(lambda: beats._pulses["w"].link.acknowledged)


def test_a_first_beat_may_take_longer_than_those_that_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    def story(beats: Heartbeat, link: SocketLink, clock: FakeClock) -> None:
        clock.advance(FIRST_S / 2)
        assert not beats.confirm("w")
        link.send(Packet(Beat()))
        assert not beats.confirm("w")
        clock.advance(SILENCE_S)
        assert beats.confirm("w")

    assert listening(monkeypatch, story) == ["hang"]


def test_one_whose_machine_acknowledges_is_given_time_and_then_it_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    def story(beats: Heartbeat, link: SocketLink, clock: FakeClock) -> None:
        began(beats, link, clock)
        asked = 0
        while clock.now_s() < FIRST_S + HUNG_S - SILENCE_S / 2:
            clock.advance(SILENCE_S / 2)
            assert not beats.confirm("w")
            acknowledged(beats)
            asked += 1
        assert asked > 5
        clock.advance(SILENCE_S)
        assert beats.confirm("w")

    assert listening(monkeypatch, story, starved=None) == ["hang"]


def test_one_whose_machine_acknowledges_nothing_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def story(beats: Heartbeat, link: SocketLink, clock: FakeClock) -> None:
        began(beats, link, clock)
        clock.advance(0.9 * SILENCE_S)
        monkeypatch.setattr(SocketLink, "acknowledged", False)  # a cable was pulled
        assert not beats.confirm("w")
        clock.advance(ACKNOWLEDGED_S / 2)
        assert not beats.confirm("w")  # no machine answers at once
        clock.advance(ACKNOWLEDGED_S)
        assert beats.confirm("w")

    assert listening(monkeypatch, story, starved=None) == ["hang"]


def test_one_that_never_beats_is_suspected_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def story(beats: Heartbeat, link: SocketLink, clock: FakeClock) -> None:
        clock.advance(FIRST_S)
        assert beats.confirm("w")

    assert listening(monkeypatch, story) == ["hang"]
