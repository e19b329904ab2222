"""Stages whose engines answer many calls at a time, each in parts: watched beside the worker's connections, in its own thread.

A part costs as much as a frame, here and at the gateway, and a small model gives thousands of tokens a second. So an engine that has
just given something gathers for `GATHER_S`, unless somebody waits for the first part of an answer: what comes meanwhile goes
together. A model that takes longer for a token is not delayed by that, nor is any first token, nor the end of an answer.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from functools import partial

from synfire.base.errors import Bug
from synfire.devices.mending import DeviceLost
from synfire.engines.streaming import StreamingProgram
from synfire.worker.core import Core
from synfire.worker.job import Job, Outcome
from synfire.worker.peers import READ, Watch

GATHER_S = 0.01
"""Less than a screen takes for a picture: nobody sees that text comes in steps of it."""


class Streams:
    """Hands calls to the programs of such stages, and what they give to the `core`. `lose` is told of an engine that has ended."""

    def __init__(self, watch: Watch, core: Core, lose: Callable[[DeviceLost], None]) -> None:
        self._watch = watch
        self._core = core
        self._lose = lose
        self.look_at_s = math.inf
        self._gathering: dict[StreamingProgram, float] = {}
        self._watched: dict[StreamingProgram, int] = {}
        self._jobs: dict[str, Job] = {}

    def look_over(self) -> None:
        """Watch the programs of the stages that are hosted now; others rest, and give their memory back."""
        programs = (stage.program for stage in self._core.stages.values())
        hosted = {program for program in programs if isinstance(program, StreamingProgram)}
        for program in set(self._watched) - hosted:
            self._watch.selector.unregister(self._watched.pop(program))
            self._gathering.pop(program, None)
            program.rest()
        for program in hosted - set(self._watched):
            self._watched[program] = program.fileno()
            self._watch.selector.register(self._watched[program], READ, partial(self._take, program))

    def look(self, now_s: float) -> None:
        """Take from those engines that have gathered for long enough. To be called at `look_at_s`."""
        if now_s < self.look_at_s:
            return
        for program in [each for each, until_s in self._gathering.items() if until_s <= now_s]:
            del self._gathering[program]
            program.gather(False)
        self.look_at_s = min(self._gathering.values(), default=math.inf)

    def begin(self, job: Job) -> None:
        """Have a program begin a job, which is one visit: such a stage is `single`. It is cancelled when the visit ends."""
        program, (visit,) = job.stage.program, job.visits
        if not isinstance(program, StreamingProgram):
            raise Bug(f"stage {job.stage.name} does not stream; its engine {job.stage.host.engine} computes blocks")
        call = f"{visit.request.id} at {job.stage.name}"
        self._jobs[call] = job
        visit.at_end = lambda: self._end(program, call)
        program.begin(call, job.inputs[0])
        if self._gathering.pop(program, None) is not None:  # its first part shall not wait
            program.gather(False)

    def close(self) -> None:
        """End all engines."""
        for program in self._watched:
            program.rest()
        self._watched.clear()
        self._gathering.clear()

    def _gather(self, program: StreamingProgram, now_s: float) -> None:
        """Have it gather for a while; not while anybody waits for the first part of an answer."""
        jobs = (job for job in self._jobs.values() if job.stage.program is program)
        under_way = itertools.islice(jobs, program.capacity)  # they are taken in the order of their coming
        if all(job.visits[0].number for job in under_way):
            program.gather(True)
            self._gathering[program] = now_s + GATHER_S
            self.look_at_s = min(self.look_at_s, now_s + GATHER_S)

    def _end(self, program: StreamingProgram, call: str) -> None:
        if self._jobs.pop(call, None) is not None:
            program.cancel(call)

    def _take(self, program: StreamingProgram, _: int) -> None:
        try:
            given = program.given()
        except DeviceLost as lost:
            self._lose(lost)
            return
        now_s = time.monotonic()
        for each in given:
            job = self._jobs.get(each.call)
            if job is not None:
                self._core.give(job, Outcome({}, each.outputs, each.error), each.last, now_s)
        if given:
            self._gather(program, now_s)
