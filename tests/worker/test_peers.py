"""How a worker waits: it looks for a moment where packets follow each other and nobody else wants the core, else it sleeps."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Iterator

import pytest

from synfire.worker import peers
from synfire.worker.peers import READ, Event, Watch


class Scene:
    """A watch on virtual time. A look takes `look_s`; `comes_s` after a wait has begun, something has come."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s, self.look_s, self.comes_s = 10.0, 3e-6, 0.0
        self.looks = self.sleeps = 0
        self.watch = Watch()
        monkeypatch.setattr(self.watch.selector, "select", self._select)
        monkeypatch.setattr(peers.time, "monotonic", lambda: self.now_s)
        monkeypatch.setattr(peers.os, "sched_yield", lambda: None)

    def wait(self, comes_s: float, patience_s: float = 1.0) -> tuple[int, int]:
        """How often it looked and slept until something came, `comes_s` from now."""
        self.comes_s, self.looks, self.sleeps = self.now_s + comes_s, 0, 0
        assert self.watch.wait(patience_s)
        return self.looks, self.sleeps

    def _select(self, timeout: float) -> list[Event]:
        if timeout:
            self.sleeps += 1
            self.now_s = max(self.now_s, self.comes_s)
        else:
            self.looks += 1
            self.now_s += self.look_s
        return [(selectors.SelectorKey(0, 0, READ, None), READ)] if self.now_s >= self.comes_s else []


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


def test_who_has_waited_long_sleeps(scene: Scene) -> None:
    for _ in range(3):
        assert scene.wait(1e-3) == (0, 1)


def test_who_has_waited_a_moment_looks_and_does_not_sleep(scene: Scene) -> None:
    scene.wait(50e-6)
    looks, sleeps = scene.wait(50e-6)
    assert (looks > 10, sleeps) == (True, 0)
    assert scene.wait(50e-6)[1] == 0


def test_who_has_looked_in_vain_sleeps_the_next_time_at_once(scene: Scene) -> None:
    scene.wait(50e-6)
    looks, sleeps = scene.wait(1e-3)
    assert (looks > 10, sleeps) == (True, 1)
    assert scene.wait(50e-6) == (0, 1)


def test_who_keeps_others_from_the_core_looks_no_more_for_a_while(scene: Scene) -> None:
    scene.wait(50e-6)
    scene.look_s = 400e-6
    assert scene.wait(500e-6) == (1, 1)
    scene.look_s = 3e-6
    scene.wait(50e-6)
    assert scene.wait(50e-6) == (0, 1)
    scene.now_s += 0.1
    assert scene.wait(50e-6)[1] == 0


def test_who_has_work_waits_for_nothing(scene: Scene) -> None:
    scene.wait(50e-6)
    assert scene.wait(0.0, patience_s=0.0) == (1, 0)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        yield near, far


def test_a_watch_hears_of_what_has_come(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    watch = Watch()
    watch.selector.register(near, READ)
    assert watch.wait(1e-6) == []
    for _ in range(3):
        far.send(b"!")
        ((key, events),) = watch.wait(10.0)
        assert (key.fileobj, events) == (near, READ)
        near.recv(1)
    watch.selector.close()
