"""How fast things start: a cached model, from the command to its first answer, and a spare, from the order to ready to adopt."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from synfire.base.children import Start, Template, spawned
from synfire.base.errors import PermanentError
from synfire.bench.benchmark import BENCHMARKS, Benchmark, Progress, Report, Settings, floor, report, spread
from synfire.bench.command import commanded
from synfire.deploy.launch import Launch
from synfire.deploy.planning import ENGINE
from synfire.deploy.process import WorkerProcess, loaded
from synfire.formats.bundle import store_graph
from synfire.gateway.peer import WorkerPeer
from synfire.graph import Graph, flatten
from synfire.graph.passes import simplify
from synfire.store import MirroredStore
from synfire.testing.zoo import answers
from synfire.wire.batch_axis import batch_first
from synfire.wire.client import Client
from synfire.wire.links import unlink
from synfire.zoo import find, sample

MODEL = "svgg-mnist"

PATIENCE_S = 120.0
"""How long a worker may take to start on a busy machine."""

FORK, INTERPRETER = "spare, forked from the template", "spare, in a new interpreter"
COMMAND, ANSWER = "serve until it is ready", "serve until the first answer"
SERVE, TEMPLATE = "an interpreter with what serve loads", "a template until it can fork"
SIDE_BY_SIDE = "both of these at a time"

ALONE: Mapping[str, str] = {
    "an interpreter": "",
    "an interpreter with numpy and numba": "import numba.core.extending, numpy",
    SERVE: "from synfire.base import garbage\nwith garbage.loading():\n import synfire.cli.app, synfire.cli.serve",
}
"""Programs that do nothing but load, and end: less than they take nothing takes that needs the same."""


class StartUp(Benchmark):
    """The first command of all, which may have kernels to compile and costs to measure, is not counted: the model is cached then.

    A spare is ready to adopt when it has built the model's stage, which it maps from the store, and has said so.

    The other rows show what binds: `serve` and the template of its processes load at the same time, on two cores; what comes after both is
    the start of controller, gateway and worker, which are forked, and what they tell each other.
    """

    name = "start"
    about = "seconds until a cached model answers, and until a spare is ready to adopt"
    shown = ("what", "median_s", "q1_s", "q3_s", "rounds")

    def measure(self, settings: Settings, progress: Progress) -> Report:
        rounds = 1 if settings.quick else 9
        graph = simplify(flatten(find(MODEL).graph))
        times: dict[str, list[float]] = {}
        with asyncio.Runner() as runner, _spares(graph, runner) as spares:
            for round_ in range(-1, rounds):
                progress(f"round {round_ + 1} of {rounds}")
                measured = {**_command(graph), **spares.ready_s(), **_loading(runner)}
                if round_ >= 0:
                    for what, seconds in measured.items():
                        times.setdefault(what, []).append(seconds)
        found = {what: spread(seconds) for what, seconds in times.items()}
        rows: list[dict[str, Any]] = [{"what": what, **each, "rounds": rounds} for what, each in found.items()]
        floors = [
            floor("spare_ready_s", "<=", 0.8, found[FORK]["median_s"]),
            floor("cached_start_s", "<=", 1.5, found[ANSWER]["median_s"]),
        ]
        return report(self.name, settings, {"model": MODEL, "rounds": rounds}, rows, floors)


BENCHMARKS.add(StartUp.name, StartUp())


def _command(graph: Graph) -> dict[str, float]:
    """Serve the model, ask it once, and stop. Raises `PermanentError` for another answer than the uncut model's."""
    given = sample(graph)
    with commanded([MODEL]) as served, Client(served.url) as client:
        reply = client.infer(MODEL, batch_first(graph.inputs, given))
        answered_s = time.perf_counter()
    right = answers(graph, next(iter(given.values())))
    if any(not np.array_equal(reply.outputs[name], array) for name, array in right.items()):
        raise PermanentError(f"{MODEL} does not answer what it answers uncut; a start that is wrong is none")
    return {COMMAND: served.ready_s - served.begun_s, ANSWER: answered_s - served.begun_s}


class _Spares:
    """Starts workers as a supervisor does, and has them prepared as a controller does."""

    def __init__(self, graph: Graph, folder: Path, template: Template, runner: asyncio.Runner) -> None:
        self._graph = graph
        self._folder = folder
        self._store = MirroredStore(folder / "blobs", lasting=False)
        self._runner = runner
        self._starts: dict[str, Start] = {FORK: runner.run(loaded(template)), INTERPRETER: spawned}
        store_graph(graph, self._store)

    def ready_s(self) -> dict[str, float]:
        """From the order to ready, each way."""
        return {what: self._runner.run(self._ready_s(start)) for what, start in self._starts.items()}

    async def _ready_s(self, start: Start) -> float:
        begun_s = time.perf_counter()
        address = f"unix:{self._folder / 'spare'}.sock"
        process = WorkerProcess.start(Launch("spare", "bench", address, "127.0.0.1:0"), start)
        try:
            await process.ready(PATIENCE_S)
            peer = await WorkerPeer.reach("spare", address, "bench", "bench")
            peer.store = self._store
            await peer.prepare(ENGINE, self._graph)
            ready_s = time.perf_counter() - begun_s
            peer.close()
        finally:
            process.kill()
            await process.end(PATIENCE_S)
            unlink(address)
        return ready_s


def _loading(runner: asyncio.Runner) -> dict[str, float]:
    """How long the parts of a start take that only load."""
    found = {}
    for what, code in ALONE.items():
        begun_s = time.perf_counter()
        _end(_begun(code))
        found[what] = time.perf_counter() - begun_s
    begun_s = time.perf_counter()
    with _template(runner):
        found[TEMPLATE] = time.perf_counter() - begun_s
    begun_s = time.perf_counter()
    beside = _begun(ALONE[SERVE])
    with _template(runner):
        _end(beside)
        found[SIDE_BY_SIDE] = time.perf_counter() - begun_s
    return found


def _begun(code: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code])


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.wait(PATIENCE_S):
        raise PermanentError(
            f"a program that only loads modules ended with {process.returncode}; is synfire installed whole?"
        )


@contextmanager
def _template(runner: asyncio.Runner) -> Iterator[None]:
    """A template, which can fork."""
    template = Template.begin()
    try:
        runner.run(loaded(template))
        yield
    finally:
        template.close()


@contextmanager
def _spares(graph: Graph, runner: asyncio.Runner) -> Iterator[_Spares]:
    template = Template.begin()
    try:
        with tempfile.TemporaryDirectory(prefix="sf-") as folder:
            yield _Spares(graph, Path(folder), template, runner)
    finally:
        template.close()
