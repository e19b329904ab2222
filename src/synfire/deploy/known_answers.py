"""Whether workers compute right: the known answers of stages, asked for again now and then, and what they find out themselves."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from typing import NoReturn

from synfire.base.clock import SystemClock
from synfire.base.errors import TemporaryError, UnknownName
from synfire.base.log import LOGGER
from synfire.deploy.workers import Workers
from synfire.plan import Plan

FLIPS_WITHIN_S = 60.0
"""States that are found wrong count together for so long, in seconds."""

MOST_MISSED = 2
"""How many known-answer tests of a stage may be put off, one after the other, because its worker has calls."""


class KnownAnswers:
    """What stages answer to their tests, by model, stage and engine; and in `agreements`, by model and stage, how far the spikes
    of a stage's device agree with the processor's. `plans` says where all stages are wanted."""

    def __init__(self, workers: Workers, plans: Callable[[], list[Plan]]) -> None:
        self.answers: dict[tuple[str, str, str], str] = {}
        self.agreements: dict[tuple[str, str], float] = {}
        self._workers = workers
        self._plans = plans
        self._missed: Counter[tuple[str, str]] = Counter()
        self._flips: defaultdict[str, deque[float]] = defaultdict(deque)
        self._now_s = SystemClock().now_s

    def learn(self, model: str, stage: str, engine: str, answer: str, agreement: float | None) -> None:
        """A stage was hosted for the first time, and this is what it answers."""
        self.answers[model, stage, engine] = answer
        if agreement is not None:
            self.agreements[model, stage] = agreement

    def forget(self, model: str) -> None:
        """The model is served no longer."""
        self.answers = {key: answer for key, answer in self.answers.items() if key[0] != model}
        self.agreements = {key: share for key, share in self.agreements.items() if key[0] != model}

    def right(self, model: str, stage: str, worker: str, answer: str) -> bool:
        """Whether `answer` is the known one of the stage on the engine that runs it, if there is any, and the stage is still wanted. All of its
        replicas have one.

        A worker that answers wrong is lost from here on.
        """
        stages = ((plan, each) for plan in self._plans() if plan.model == model for each in plan.stages)
        found = next(((each.original, plan.engine_of(each)) for plan, each in stages if each.name == stage), None)
        if found is None or not answer or answer == self.answers.setdefault((model, *found), answer):
            return True
        LOGGER.error("worker %s computes stage %s.%s wrong: its memory is corrupted", worker, model, stage)
        self._workers.lose(worker, "corruption")
        return False

    def flipped(self, worker: str, most: int) -> None:
        """The worker has found a wrong bit in a state. One that has found `most` of them within a minute is lost from here on."""
        now_s, found = self._now_s(), self._flips[worker]
        found.append(now_s)
        while found[0] < now_s - FLIPS_WITHIN_S:
            found.popleft()
        if len(found) >= most:
            del self._flips[worker]
            LOGGER.error("worker %s has found %d wrong states within a minute: its memory is corrupted", worker, most)
            self._workers.lose(worker, "corruption")

    async def prove(self) -> None:
        """Do the known-answer tests of all stages once, each while its worker has no call.

        A stage whose worker had calls `MOST_MISSED` times running is tested all the same, between two jobs.
        """
        for plan in self._plans():
            for stage in plan.stages:
                with contextlib.suppress(TemporaryError, UnknownName):  # the worker is gone, or the stage has moved
                    await self._prove(plan.model, stage.name, stage.worker)

    async def now_and_then(self, every_s: float, act: Callable[[], None]) -> NoReturn:
        """Do them every so many seconds, and `act` then, until cancelled; whatever fails, the next ones come."""
        while True:
            await asyncio.sleep(every_s)
            try:
                await self.prove()
                act()
            except Exception as error:
                LOGGER.error("known-answer tests have failed themselves, and are done again", exc_info=error)

    async def _prove(self, model: str, stage: str, name: str) -> None:
        worker = self._workers.get(name)
        if worker is None:
            return
        if self._missed[model, stage] < MOST_MISSED and (await worker.peer.describe()).requests:
            self._missed[model, stage] += 1
            return
        self._missed.pop((model, stage), None)
        self.right(model, stage, name, await worker.peer.prove(model, stage))
