"""The soak itself: starts the deployment, follows the schedule, looks whether everything holds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

import httpx

from synfire.base.errors import SynfireError, TemporaryError
from synfire.bench.soak.callers import Doors
from synfire.bench.soak.crowd import Crowd
from synfire.bench.soak.judgement import Violation
from synfire.bench.soak.ledger import Ledger
from synfire.bench.soak.log import Log
from synfire.bench.soak.memory import Memory
from synfire.bench.soak.processes import Seen, kill, unburied
from synfire.bench.soak.questions import Repertoire
from synfire.bench.soak.recoveries import check_records
from synfire.bench.soak.rest import Rest
from synfire.bench.soak.schedule import Load, Pause, Schedule
from synfire.bench.soak.served import Served
from synfire.bench.soak.striking import Striking
from synfire.bench.soak.strokes import SHORTAGE, Stroke
from synfire.wire.recovery import RecoveryRecord

CALM_WITHIN_S = 45.0
"""How long the deployment may take to come to rest: several starts of a worker on a busy machine."""

END_WITHIN_S = 10.0
"""How long everything that belongs to the deployment may take to go when it has ended, or was killed."""

LOOK_S = 2.0
"""How often processes are counted and the log is read."""

POLL_S = 0.1

FULL = "no space left"
"""What is said where a deployment cannot be started on a full disk."""


class Soak:
    """One soak of a schedule. `progress` is told of it every `LOOK_S`; what was seen is in its fields."""

    def __init__(self, schedule: Schedule, served: Served, progress: Callable[[Soak], None]) -> None:
        self.schedule = schedule
        self.ledger = Ledger()
        self.memory = Memory()
        self.records: list[RecoveryRecord] = []
        self.looks = 0
        self._served = served
        self._progress = progress
        self._striking = Striking(served, self.ledger)
        self._strokes: set[asyncio.Task[None]] = set()
        self._rested_s = 0.0
        self._log = Log(served.log)

    async def run(self) -> None:
        """Do it. Nothing is left running, whatever happens.

        Raises `Violation` as soon as something does not hold, `PermanentError` when the deployment cannot be started at all.
        """
        try:
            repertoires = await self._start()
            async with asyncio.TaskGroup() as group:
                watching = [group.create_task(each) for each in (self._watch(), self._guard())]
                await self._follow(group, repertoires)
                for task in watching:
                    task.cancel()
            await self._finish()
        except BaseExceptionGroup as errors:
            raise _first(errors) from errors
        finally:
            await self._clear()

    async def _start(self) -> Mapping[str, Repertoire]:
        names, device = self.schedule.arrangement.models, self.schedule.arrangement.device
        repertoires = {name: await asyncio.to_thread(Repertoire.of, name, device) for name in names}
        await self._served.start()
        self.ledger.start()
        self.ledger.tell(f"{self.schedule.arrangement} (at {self._served.url})")
        return repertoires

    async def _follow(self, group: asyncio.TaskGroup, repertoires: Mapping[str, Repertoire]) -> None:
        """The schedule's acts; its clock stands still while the deployment comes to rest."""
        crowd = Crowd(
            group, lambda: Doors(self._served.url, self._served.grpc), repertoires, self.schedule.seed, self.ledger.note
        )
        for act in self.schedule.acts:
            await asyncio.sleep(act.at_s + self._rested_s - self.ledger.now_s)
            if isinstance(act, Load):
                self.ledger.tell(str(act))
                crowd.change(act)
            elif isinstance(act, Stroke):
                task = group.create_task(self._striking.strike(act))
                self._strokes.add(task)
                task.add_done_callback(self._strokes.discard)
            elif isinstance(act, Pause):
                await self._rest(crowd)
                crowd.again()
        crowd.dismiss()
        await crowd.gone()

    async def _rest(self, crowd: Crowd) -> None:
        """Wait until nothing is held and nobody is missing. Raises `Violation` when that takes too long."""
        began_s = self.ledger.now_s
        if self._strokes:
            await asyncio.wait(self._strokes)
        crowd.dismiss()
        await crowd.gone()
        until_s = time.monotonic() + CALM_WITHIN_S
        while unrest := (await self._sight()).unrest():
            if time.monotonic() > until_s:
                raise Violation(f"nobody has called for {CALM_WITHIN_S:.0f} s, and still {unrest}")
            await asyncio.sleep(POLL_S)
        self.ledger.settle(await self._served.records() if self.ledger.claims else ())
        self.memory.rest(self.ledger.now_s, self._census())
        self.ledger.tell(f"rest, after {self.ledger.now_s - began_s:.1f} s")
        self._rested_s += self.ledger.now_s - began_s

    async def _sight(self) -> Rest:
        processes = self._census()
        try:
            ready, workers = await self._served.ready(), await self._served.workers()
        except httpx.HTTPError:
            ready, workers = False, []
        return Rest(
            ready,
            workers,
            processes,
            self.schedule.arrangement.crew,
            unburied({each.pid for each in processes}),
            self._served.traces.stale(),
            sessions_lost=self.ledger.gateways_ended,
        )

    async def _watch(self) -> None:
        """Now and then: count what is held, read the log, tell how far it is."""
        while True:
            self.memory.look(each for each in self._census() if each.role in self.schedule.arrangement.crew)
            self._log.read()
            self._progress(self)
            self.looks += 1
            await asyncio.sleep(LOOK_S)

    async def _guard(self) -> None:
        """Start the deployment again whenever a stroke has ended it. Raises `Violation` when it ended otherwise, or left something."""
        while True:
            code = await self._served.ended()
            if not self.ledger.excused:
                raise Violation(f"serve has ended, with exit code {code}, though nobody told it to")
            await self._until_ended()
            self.ledger.tell("… the deployment has ended, and is started again")
            while not await self._started():
                await asyncio.sleep(POLL_S)

    async def _started(self) -> bool:
        """Start the deployment again; false where the disk is full, which passes. Raises `Violation` where something else is in the way."""
        try:
            await self._served.start()
        except SynfireError as error:
            if not isinstance(error, TemporaryError) or FULL not in str(error).lower():
                raise Violation(str(error)) from error
            self.ledger.tell(f"… {error}")
            return False
        return True

    async def _until_ended(self) -> None:
        until_s = time.monotonic() + END_WITHIN_S
        while left := self._census():
            if time.monotonic() > until_s:
                raise Violation(f"{END_WITHIN_S:.0f} s after the end of serve these live on: {_listed(left)}")
            await asyncio.sleep(POLL_S)

    async def _finish(self) -> None:
        """Stop the deployment, and see whether anything is left, and whether its records tell of everything."""
        await self._served.stop()
        self.ledger.tell("stopped")
        await self._until_ended()
        left = list(self._served.traces.left())
        if left:
            raise Violation(f"the deployment has left behind: {_listed(left)}")
        self._log.read()
        self.records = await self._served.records()
        self.ledger.settle(self.records)
        shift_s = time.time() - time.monotonic()
        shortages = [
            (each.from_s + shift_s, each.until_s + shift_s) for each in self.ledger.excuses if each.kind == SHORTAGE
        ]
        check_records(self.records, self._striking.kills, shortages, dict(self.schedule.arrangement.priorities))

    async def _clear(self) -> None:
        """Leave no process behind, whatever went wrong."""
        self._served.kill()
        with suppress(Violation):
            await self._until_ended()
        for each in self._census():
            kill(each)

    def _census(self) -> list[Seen]:
        """The processes of the deployment, without the verbs that the soak itself runs now."""
        return [each for each in self._served.traces.look() if not self._served.runs(each)]


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error of a group, which ended at it."""
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


def _listed(things: Iterable[object]) -> str:
    return "; ".join(str(each) for each in things)
