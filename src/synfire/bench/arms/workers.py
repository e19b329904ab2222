"""Workers lost at random under load: a hot spare, a warm one, or none takes over."""

from __future__ import annotations

import asyncio
import queue
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from synfire.base.errors import PermanentError
from synfire.base.processes import born
from synfire.bench.arms.arm import ARMS, Arm, Conditions, Outcome
from synfire.bench.benchmark import Floor, Progress, floor
from synfire.bench.trials import ALL, Found, Trial
from synfire.bench.witness import Case, Job, witness
from synfire.control.record import RecoveryLog
from synfire.deploy.faults import Options, Process, Scene, inject
from synfire.deploy.local import LocalDeployment, Settings
from synfire.deploy.planning import Planned, plan_models
from synfire.deploy.serving import Listening, Serving, serving
from synfire.store import Catalog
from synfire.testing.zoo import answers, held_out, inputs_of
from synfire.wire.client import batch_first
from synfire.wire.recovery import RecoveryRecord
from synfire.zoo import find

GRANULARITY = "operator"
"""The finest cut: with two workers every model has stages on both, so that each kill hits all of them."""

DIGITS = 60
"""Held-out digits of each model that are sent, in random order."""

PAUSE_S = 0.3
"""A fault comes at a random time within this, once all is warm again."""

PATIENCE_S = 120.0
"""How long a recovery, or a new spare, may take before the arm is given up."""


class WorkerFault(Arm):
    """A fault to a random worker that holds stages, again and again, each once all is warm; by default a kill."""

    fault: ClassVar[str] = "worker-kill"
    """A kind of `synfire.deploy.faults` that takes a worker, which is lost by it."""
    workers: ClassVar[int] = 2
    settings: ClassVar[Settings]
    trials: ClassVar[int]

    def measure(self, conditions: Conditions, progress: Progress) -> Outcome:
        trials = 2 if conditions.quick else self.trials
        progress(f"{self.name}: planning")
        planned = plan_models([find(name) for name in conditions.models], GRANULARITY, self.workers)
        with _deployed(planned, self.settings) as (running, portal, log):
            job = Job(running.addresses.url, dict(_cases(planned, running.addresses.url)), conditions.seed)
            with witness(job) as load:
                rng = random.Random(f"{conditions.seed}-{self.name}")
                done = []
                for number in range(trials):
                    progress(f"{self.name}: {self.fault} {number + 1} of {trials}")
                    done.append(_trial(self.fault, running.deployment, portal, log, rng))
                seen = load.stop()
            replays = {name: route.replays for name, route in running.deployment.routes.items()}
        rows = Found(tuple(done), seen, replays, log.unprovoked).rows(self.name)
        complaints = tuple(f"{model}: {each}" for model, one in seen.items() for each in one.complaints)
        return Outcome(tuple(rows), tuple(self.floors(rows)), complaints)

    def floors(self, rows: Sequence[dict[str, Any]]) -> Iterator[Floor]:
        """What this arm promises: nothing, unless it says so."""
        return iter(())


class Hot(WorkerFault):
    name = "hot"
    about = "a worker is killed; a spare that has built every stage beforehand takes over"
    settings = Settings(http="", spares=1)
    trials = 200

    def floors(self, rows: Sequence[dict[str, Any]]) -> Iterator[Floor]:
        (total,) = (row for row in rows if row["family"] == ALL)
        for name in ("lost", "wrong", "duplicated"):
            yield floor(f"kill_{name}", "==", 0, total[name])
        yield floor("kill_outage_p99_ms", "<=", 150, 1e3 * total["outage_p99_s"])
        yield floor("kill_outage_p50_ms", "<=", 60, 1e3 * total["outage_p50_s"])


class Warm(WorkerFault):
    name = "warm"
    about = "a worker is killed; a spare process with runtime and kernels loaded builds its stages and takes over"
    settings = Settings(http="", spares=1, prepare=False)
    trials = 40


class Cold(WorkerFault):
    name = "cold"
    about = "the only worker is killed; there is no spare: a new process is started and builds every stage"
    workers = 1
    settings = Settings(http="")
    trials = 40


for kind in (Hot, Warm, Cold):
    ARMS.add(kind.name, kind())


class _Told(RecoveryLog):
    """A log of its own for the run, which also hands each record to whoever waits for it.

    `unprovoked` counts losses that nobody caused: workers that were suspected in vain.
    """

    def __init__(self, folder: str) -> None:
        super().__init__(Catalog(Path(folder) / "catalog.sqlite"))
        self.unprovoked = 0
        self._told: queue.SimpleQueue[RecoveryRecord] = queue.SimpleQueue()

    def append(self, record: RecoveryRecord) -> None:
        super().append(record)
        self._told.put(record)

    def of(self, worker: str) -> RecoveryRecord:
        """The record of the worker's loss, once there is one. Raises `PermanentError` when it does not come."""
        until_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                record = self._told.get(timeout=max(0.0, until_s - time.monotonic()))
            except queue.Empty:
                raise PermanentError(f"the loss of {worker} was not made good within {PATIENCE_S:.0f} s") from None
            if record.worker == worker:
                return record
            self.unprovoked += 1


@contextmanager
def _deployed(planned: Sequence[Planned], settings: Settings) -> Iterator[tuple[Serving, BlockingPortal, _Told]]:
    """The models behind a gateway in a thread of its own."""
    with tempfile.TemporaryDirectory(prefix="synfire-recovery-") as folder:
        log = _Told(folder)
        with (
            start_blocking_portal(backend_options={"use_uvloop": True}) as portal,
            portal.wrap_async_context_manager(serving(planned, Listening(), settings=settings, log=log)) as running,
        ):
            yield running, portal, log


def _cases(planned: Sequence[Planned], url: str) -> Iterator[tuple[str, list[Case]]]:
    """Held-out digits as requests, with the answers of the uncut model."""
    for each in planned:
        requests, _ = held_out(each.graph.metadata["dataset"], DIGITS)
        right = answers(each.graph, requests)
        cases = []
        for i in range(len(requests)):
            inputs = batch_first(each.graph.inputs, inputs_of(each.graph, requests[i : i + 1]))
            cases.append(
                Case.of(url, each.model.name, inputs, {name: array[i : i + 1] for name, array in right.items()})
            )
        yield each.model.name, cases


def _trial(fault: str, deployment: LocalDeployment, portal: BlockingPortal, log: _Told, rng: random.Random) -> Trial:
    """Wait until all is warm, hit a worker at a random time, and wait until that is made good."""
    portal.call(_until_warm, deployment)
    time.sleep(rng.uniform(0, PAUSE_S))
    process = portal.call(_victim, deployment, rng)
    at_s, at_1970_s = time.monotonic(), time.time()
    inject(fault, process.name, Scene({process.name: process}), Options(), lambda act: None)
    record = log.of(process.name)
    portal.call(_until_warm, deployment)
    return Trial(at_s, at_1970_s, process.name, record, time.monotonic() - at_s)


def _victim(deployment: LocalDeployment, rng: random.Random) -> Process:
    """A random worker that holds stages."""
    holding = sorted({worker for route in deployment.routes.values() for worker in route.plan.workers})
    name = rng.choice(holding)
    pid = deployment.workers[name].process.pid
    return Process(name, pid, born(pid))


async def _until_warm(deployment: LocalDeployment) -> None:
    try:
        await asyncio.wait_for(deployment.until_warm(), PATIENCE_S)
    except TimeoutError:
        raise PermanentError(f"the deployment was not warm again within {PATIENCE_S:.0f} s") from None
