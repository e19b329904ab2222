"""How many threads of a worker compute at a time: as many as it was granted, and the builder's beside them."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from itertools import pairwise
from threading import Condition, get_ident
from typing import Any

import msgspec
import numpy as np
import pytest

from synfire.deploy.hosting import hostings
from synfire.engines.cpu import chain, program, team
from synfire.engines.cpu.player import play, play_together
from synfire.graph import Graph, Synapse
from synfire.ops import Clock, Kind, Signal
from synfire.ops.constant_current import ConstantCurrent
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.testing.graphs import plan_of
from synfire.wire.messages import Frame, Host
from synfire.wire.stream import Packet
from synfire.worker import hands
from synfire.worker.builder import Builder, Built, build
from synfire.worker.core import Core
from synfire.worker.hands import Hands
from synfire.worker.job import Job
from synfire.worker.settings import Settings

LATE_S = 30.0
"""For how long a thread that has to come is waited for."""
MORE_S = 0.2
"""For how long one is that must not."""


class Computing:
    """Counts the threads that are inside kernels. Those that come first wait there until `expected` are, and then for one more."""

    def __init__(self) -> None:
        self._inside: set[int] = set()
        self._changed = Condition()
        self._settled = False
        self.expect(1)

    def expect(self, expected: int) -> None:
        self._expected, self._settled, self.most = expected, False, 0

    def counted(self, play: Callable[..., None]) -> Callable[..., None]:
        def played(*given: Any) -> None:
            with self._changed:
                self._inside.add(get_ident())
                self.most = max(self.most, len(self._inside))
                self._changed.notify_all()
                self._wait()
            try:
                play(*given)
            finally:
                with self._changed:
                    self._inside.discard(get_ident())

        return played

    def _wait(self) -> None:
        if not self._settled:
            self._changed.wait_for(lambda: self.most >= self._expected, LATE_S)
            self._changed.wait_for(lambda: self._settled or self.most > self._expected, MORE_S)
            self._settled = True


@pytest.fixture
def computing(monkeypatch: pytest.MonkeyPatch) -> Computing:
    found = Computing()
    monkeypatch.setattr(chain, "play", found.counted(play))
    monkeypatch.setattr(team, "play_together", found.counted(play_together))
    monkeypatch.setattr(hands, "WORTH_S", 1e-9)
    return found


@pytest.fixture(params=[False, True], ids=["small", "large"])
def large(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether threads share each operator, as in large models, or a batch."""
    if request.param:
        monkeypatch.setattr(program, "ENOUGH", 1)
        monkeypatch.setattr(chain, "ENOUGH", 1)
    return bool(request.param)


def stage(seed: int) -> tuple[Host, Graph]:
    weight = np.random.default_rng(seed).normal(0, 1, (48, 32)).astype(np.float32)
    operators = {"encoder": ConstantCurrent(4), "fc": Linear(weight, np.zeros(48, np.float32)), "lif": LIF()}
    synapses = tuple(Synapse(a, b) for a, b in pairwise(["x", *operators]))
    graph = Graph(operators, synapses, {"x": Signal((32,), Kind.VALUE, Clock.REQUEST)}, {"y": "lif"})
    (only,) = hostings(graph, plan_of(graph, [tuple(graph.order())], ["w0"], 4, "m"), {"w0": "w0"})
    return msgspec.structs.replace(only.host, engine="cpu"), only.graph


class Busy:
    """A worker's core with one stage, and the threads that it was granted."""

    def __init__(self, threads: int) -> None:
        self.core, self.hands = Core("w0", Settings(threads=threads)), Hands(threads)
        host, graph = stage(0)
        self.core.host(host, graph, build(host, graph, threads=threads).program)

    def job(self) -> Job:
        for number in range(12):
            frame = Frame("m", "gateway", "s0", f"r{number}", "gw", 0, 0, 0, True)
            self.core.receive(Packet(frame, {"x": np.ones((1, 32), np.float32)}), 0.0)
        job = self.core.next_job(0.0)
        assert job is not None
        assert len(job.visits) == 12
        return job

    def run(self) -> None:
        job = self.job()
        self.core.finish(job, *self.hands.run(job), 0.0)
        self.core.outbox.clear()


@pytest.fixture
def busy(threads: int, large: bool, computing: Computing) -> Iterator[Busy]:
    found = Busy(threads)
    found.run()  # what a sample takes is known from now on
    yield found
    found.hands.close()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_job_is_computed_by_as_many_threads_as_were_granted_and_no_more(
    threads: int, busy: Busy, computing: Computing
) -> None:
    for _ in range(2):
        computing.expect(threads)
        busy.run()
        assert computing.most == threads


@pytest.mark.parametrize("threads", [1, 2])
def test_a_stage_that_is_built_meanwhile_takes_one_thread_more(threads: int, busy: Busy, computing: Computing) -> None:
    builder, built = Builder(threads=threads), queue.SimpleQueue[Future[Built]]()
    computing.expect(threads + 1)
    for seed in (1, 2):  # one after the other
        builder.build(*stage(seed), built.put)
    busy.run()
    assert all(built.get(timeout=LATE_S).result().program is not None for _ in range(2))
    assert computing.most == threads + 1
    builder.close()
