"""What arms with workers share: models behind a gateway, requests with their right answers, and the records of losses."""

from __future__ import annotations

import asyncio
import queue
import tempfile
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from anyio.from_thread import BlockingPortal, start_blocking_portal

from synfire.base import garbage
from synfire.base.errors import PermanentError
from synfire.base.processes import busy_s
from synfire.bench.arms.arm import Conditions
from synfire.bench.witness import Case
from synfire.control.record import RecoveryLog
from synfire.deploy.listening import Listening
from synfire.deploy.local import LocalDeployment, Settings
from synfire.deploy.planning import Planned, plan_models
from synfire.deploy.serving import Serving, serving
from synfire.engines.cpu.engine import CpuEngine
from synfire.graph import Graph
from synfire.ops import Array, Clock
from synfire.store import Catalog
from synfire.testing.zoo import answers, held_out, inputs_of
from synfire.wire.batch_axis import batch_first
from synfire.wire.recovery import RecoveryRecord
from synfire.zoo import find

GRANULARITY = "operator"
"""The finest cut: with two workers every model has stages on both, so that each fault hits all of them."""

DIGITS = 60
"""Held-out digits of each model that are sent, in random order."""

CALLS = 20
"""Calls of a session, each with another digit: a checkpoint, and some calls since."""

PATIENCE_S = 120.0
"""How long a recovery, or a new spare, may take before the arm is given up."""


@dataclass(frozen=True)
class Deployed:
    """A deployment with its gateway in a thread; `log` has the record of each loss."""

    running: Serving
    portal: BlockingPortal
    log: Told

    @property
    def deployment(self) -> LocalDeployment:
        return self.running.deployment

    @property
    def url(self) -> str:
        return self.running.addresses.url

    @property
    def staged(self) -> list[str]:
        """The workers that hold stages."""
        return sorted({worker for route in self.deployment.routes.values() for worker in route.plan.workers})

    @property
    def replays(self) -> dict[str, int]:
        """How many calls of each model were sent again."""
        return {name: route.replays for name, route in self.deployment.routes.items()}

    @property
    def busy_s(self) -> float:
        """Processor time that the gateway and its workers have used so far, in seconds; that of this process included."""
        return time.process_time() + sum(busy_s(each.process.pid) for each in self.deployment.workers.values())

    def until_warm(self) -> None:
        """Wait until nothing is being recovered and the spares are ready. Raises `PermanentError` when that takes too long."""
        self.within_patience(self.deployment.until_warm, "warm again")

    def within_patience(self, act: Callable[[], Awaitable[None]], what: str) -> None:
        """Wait for `act` in the deployment's loop. Raises `PermanentError` when it takes too long."""
        self.portal.call(_within_patience, act, what)


class Told(RecoveryLog):
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

    def of(self, workers: Collection[str]) -> RecoveryRecord:
        """The record of the loss of the last of the workers, once there is one of each. Raises `PermanentError` when one does
        not come."""
        awaited = set(workers)
        while True:
            what = f"the loss of {', '.join(sorted(awaited))}"
            record = self._first(lambda each: each.worker in awaited, what)
            awaited.discard(record.worker)
            if not awaited:
                return record

    def caused_by(self, cause: str) -> RecoveryRecord:
        """The next record with that cause. Raises `PermanentError` when it does not come."""
        return self._first(lambda each: each.cause.kind == cause, f"a {cause}")

    def _first(self, fits: Callable[[RecoveryRecord], bool], what: str) -> RecoveryRecord:
        until_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                record = self._told.get(timeout=max(0.0, until_s - time.monotonic()))
            except queue.Empty:
                raise PermanentError(f"{what} was not made good within {PATIENCE_S:.0f} s") from None
            if fits(record):
                return record
            self.unprovoked += 1


def planned_for(conditions: Conditions, workers: int) -> tuple[Planned, ...]:
    """The families' models, cut as finely as can be and spread over so many workers."""
    return plan_models([find(name) for name in conditions.models], GRANULARITY, workers)


@contextmanager
def deployed(planned: Sequence[Planned], settings: Settings) -> Iterator[Deployed]:
    """The models behind a gateway in a thread of its own."""
    with tempfile.TemporaryDirectory(prefix="synfire-recovery-") as folder:
        log = Told(folder)
        with (
            start_blocking_portal(backend_options={"use_uvloop": True}) as portal,
            portal.wrap_async_context_manager(serving(planned, Listening(), settings=settings, log=log)) as running,
            garbage.looking_seldom(),  # as every gateway does; the benchmark's own objects are none of its business
        ):
            yield Deployed(running, portal, log)


def cases(planned: Planned, url: str) -> list[Case]:
    """Held-out digits as requests, with the answers of the uncut model."""
    return cases_of(planned.graph, planned.model.name, url)


def cases_of(graph: Graph, model: str, url: str) -> list[Case]:
    """The same of the flat graph of a model that is served by that name."""
    requests, _ = held_out(graph.metadata["dataset"], DIGITS)
    right = answers(graph, requests)
    return [Case.of(url, model, _sent(graph, requests[i : i + 1]), _each(right, i)) for i in range(len(requests))]


def session_cases(planned: Planned, url: str) -> list[Case]:
    """The digits in sessions of some calls each, with the answers of the uncut model that goes on from call to call."""
    requests, _ = held_out(planned.graph.metadata["dataset"], DIGITS)
    found: list[Case] = []
    for start in range(0, DIGITS, CALLS):
        calls = [requests[i : i + 1] for i in range(start, start + CALLS)]
        sent = [_sent(planned.graph, digit) for digit in calls]
        found += Case.session(url, planned.model.name, list(zip(sent, _undisturbed(planned, calls), strict=True)))
    return found


def _undisturbed(planned: Planned, calls: Sequence[Array]) -> Iterator[dict[str, Array]]:
    """What the uncut model answers to calls that go on from one another's state."""
    graph, program = planned.graph, CpuEngine().build(planned.graph)
    state = program.initial_state(1)
    for digit in calls:
        state, outputs = program.run(state, inputs_of(graph, digit), graph.steps or 1)
        yield {
            name: np.ascontiguousarray(array[-1]) if program.outputs[name].clock is Clock.RUNNING else array
            for name, array in outputs.items()
        }


def _sent(graph: Graph, digit: Array) -> dict[str, Array]:
    return batch_first(graph.inputs, inputs_of(graph, digit))


def _each(right: Mapping[str, Array], i: int) -> dict[str, Array]:
    return {name: array[i : i + 1] for name, array in right.items()}


async def _within_patience(act: Callable[[], Awaitable[None]], what: str) -> None:
    try:
        await asyncio.wait_for(act(), PATIENCE_S)
    except TimeoutError:
        raise PermanentError(f"the deployment was not {what} within {PATIENCE_S:.0f} s") from None
