"""Steps that are tried, within their time, and tried again where that may help; an error says in which step it happened."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

from synfire.base.errors import DeadlineExceeded, SynfireError, TemporaryError
from synfire.base.log import LOGGER
from synfire.chains import Step
from synfire.chains.chain import Ask, Ensemble, Leaf
from synfire.chains.functions import FUNCTIONS
from synfire.gateway.chains.asking import Asking
from synfire.gateway.chains.counts import StepCounts
from synfire.gateway.chains.layout import Arrays
from synfire.gateway.request import Answer
from synfire.wire.messages import error_of, failure_of

PAUSE_S = 0.05
"""How long a step waits before it is tried again; twice as long each further time, up to what the error itself says."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Trying:
    """The steps of one run, asked by `asking`, and counted, by their names, in `counts`."""

    asking: Asking
    counts: Mapping[str, StepCounts]

    @property
    def key(self) -> str:
        """What requests have in common that are to go the same way."""
        return self.asking.call.session or self.asking.call.id

    def skip(self, step: Step) -> None:
        """The step does nothing this time."""
        self.counts[step.name].skipped()

    async def whole(self, step: Step, leaf: Leaf, inputs: Arrays) -> Arrays:
        """What the step gives. Raises a `SynfireError` that names it."""
        with _Counted(self, step, leaf):
            attempt = 0
            while True:
                try:
                    return await self.asking.whole(step, leaf, inputs, attempt)
                except (TemporaryError, DeadlineExceeded) as error:
                    await self._pause(step, attempt, error)
                attempt += 1

    async def parts(self, step: Step, leaf: Leaf, inputs: Arrays) -> AsyncGenerator[Answer, None]:
        """What the step gives as it forms; it is tried again until a part has been given. Raises as `whole` does."""
        with _Counted(self, step, leaf):
            attempt, given = 0, False
            while True:
                try:
                    async with aclosing(self.asking.parts(step, leaf, inputs, attempt)) as answers:
                        async for answer in answers:
                            given = True
                            yield answer
                    return
                except (TemporaryError, DeadlineExceeded) as error:
                    if given:
                        raise
                    await self._pause(step, attempt, error)
                attempt += 1

    async def vote(self, step: Step, does: Ensemble, inputs: Arrays) -> Arrays:
        """What all of an ensemble say together; those that fail are left out where enough others answer. Raises as `whole` does."""
        calls = [self.whole(step, leaf, inputs) for leaf in does.members]
        answers = await (together(calls) if does.quorum is None else enough(calls, does.quorum))
        vote = FUNCTIONS[does.vote]()
        return {name: vote({str(n): each[name] for n, each in enumerate(answers)}) for name in answers[0]}

    async def _pause(self, step: Step, attempt: int, error: SynfireError) -> None:
        """Wait until the next attempt, or raise the error where there is none; nor is there in a session that went on, as it has lost its
        state."""
        call = self.asking.call
        if attempt >= step.retries or self.asking.left_s <= 0 or (call.session and not call.start):
            raise error
        self.counts[step.name].retries += 1
        LOGGER.info("step %s of chain %s is tried again: %s", step.name, call.model, error)
        await asyncio.sleep(min(PAUSE_S * 2**attempt, getattr(error, "retry_after_s", 1.0)))


class _Counted:
    """Counts and times a step for a block, and has its errors name it."""

    def __init__(self, trying: Trying, step: Step, leaf: Leaf) -> None:
        self._counts = trying.counts[step.name]
        self._clock = trying.asking.clock
        what = f"model {leaf.model!r}" if isinstance(leaf, Ask) else f"function {leaf}"
        self._where = f"chain {trying.asking.call.model!r} stopped at step {step.name!r} ({what})"

    def __enter__(self) -> None:
        self._began_s = self._clock.now_s()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None:
            self._counts.answered(self._clock.now_s() - self._began_s)
            return
        self._counts.failed(error)
        if isinstance(error, Exception):
            if not isinstance(error, SynfireError):
                LOGGER.error("%s", self._where, exc_info=error)
            failure = failure_of("", error)
            raise error_of(
                type(failure)(failure.request, failure.kind, f"{self._where}: {failure.text}", failure.retry_after_s)
            ) from error


async def together(calls: Sequence[Coroutine[Any, Any, _T]]) -> list[_T]:
    """The results of all calls. Raises the first error, and cancels the rest."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        await _cancelled(tasks)


async def enough(calls: Sequence[Coroutine[Any, Any, _T]], quorum: int) -> list[_T]:
    """The results of those calls that have some, in their order, where these are `quorum` or more. Raises the first error otherwise."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        await asyncio.wait(tasks)
    finally:
        await _cancelled(tasks)
    answered = [task.result() for task in tasks if task.exception() is None]
    if len(answered) < quorum:
        raise next(error for task in tasks if (error := task.exception()) is not None)
    return answered


async def _cancelled(tasks: Sequence[asyncio.Future[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
