"""What computes a worker's stages: found out where it errs, mended where that can be, and reported where it cannot.

A device that breaks while it computes gives nothing: the job in flight is fenced by that. Its operators are then linked onto
cores that are left, proved, and the job is computed again, from the states and inputs that it still holds. So a request notices
nothing but the time. A job that was computed twice, with unlike results, is computed again in the same way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

import numpy as np

from synfire.base.errors import Interrupted, PermanentError, UnknownName
from synfire.base.log import LOGGER
from synfire.devices.mending import DeviceFault, DeviceLost, FaultOrder, Mending, Span
from synfire.engines import ENGINES, DeviceProgram
from synfire.engines.engine import PROCESSOR
from synfire.wire.messages import Inject, Injected, Lap, StageLost, StageMended
from synfire.worker.hands import Run
from synfire.worker.hosting import Stages
from synfire.worker.job import Job, Outcome
from synfire.worker.membranes import FLIPPED, MEMBRANE_BIT, Flip, remembers
from synfire.worker.settings import Twice
from synfire.worker.stage import Stage
from synfire.worker.twice import MOST_UNLIKE, alike, needed

Key = tuple[str, str]
Report = StageMended | StageLost


class Devices:
    """Cares for the devices of `stages`, by (model, stage). `tell` is given what whoever controls the worker should know.

    `installed` are the devices that worker `who` has beside its processor; None: every one that an engine asks for. `twice` says
    what is computed twice, see `synfire.worker.settings`, and `run` how a job is run once.
    """

    def __init__(
        self,
        who: str,
        stages: Stages,
        tell: Callable[[Report], None],
        installed: Collection[str] | None = None,
        twice: Twice = "never",
        run: Run = Job.run,
    ) -> None:
        self._who = who
        self._stages = stages
        self._tell = tell
        self._installed = installed
        self._twice: Twice = twice
        self._run = run
        self._lost: dict[DeviceProgram, StageLost] = {}
        self._gone: dict[str, str] = {}

    @property
    def losses(self) -> tuple[StageLost, ...]:
        """The stages whose device is lost, for who connects after that was told."""
        hosted = {stage.program for stage in self._stages.values()}
        self._lost = {program: report for program, report in self._lost.items() if program in hosted}
        return tuple(self._lost.values())

    def require(self, engine: str) -> None:
        """Raise `PermanentError` for an engine whose device this worker does not have, or has lost. From any thread."""
        device = ENGINES[engine].device
        if device in self._gone:
            raise PermanentError(
                f"worker {self._who} has lost its {device}: {self._gone[device]}; place the stage elsewhere"
            )
        if self._installed is not None and device not in (PROCESSOR, *self._installed):
            has = ", ".join(dict.fromkeys((PROCESSOR, *self._installed)))
            raise PermanentError(
                f"worker {self._who} has no {device}, which engine {engine!r} needs; it has {has}: place the stage on a worker "
                "of that class, or run it with engine 'cpu'"
            )

    def run(self, job: Job) -> tuple[list[Outcome], float]:
        """Run the job, again where its device broke and was mended; `Interrupted` for all of it where the device is lost."""
        mending: Mending | None = None
        while True:
            try:
                outcomes, busy_s = self._computed(job)
            except DeviceFault:
                if mending is not None:  # it broke once more, in the replay
                    self._report(job.stage, mending)
                mending = self._mended(job.stage)
                if mending is None:
                    return _interrupted(job, f"the device under stage {job.stage.name} is lost"), 0.0
                continue
            if mending is not None:
                self._report(job.stage, mending, len(job.visits))
            return outcomes, busy_s

    def flipped(self, flip: Flip) -> None:
        """Tell of a state that was not what had been left: whoever is upstream begins again."""
        LOGGER.warning("stage %s: %s, of %s", flip.stage.name, FLIPPED, flip.whose)
        detail = "its checksum did not fit; " + (
            "the session goes on from its last checkpoint" if flip.of_session else "the request is computed again"
        )
        laps = (Lap("detect", 0.0, 0.0),)  # when it has flipped nobody knows; that it has was seen at once
        self._tell(StageMended(*flip.stage.key, FLIPPED, flip.whose, detail, 0.0, laps, 0, 1, int(flip.of_session)))

    def look(self) -> None:
        """Mend what devices have reported since."""
        for stage, program in self._stages.on_devices:
            if program.ailing and program not in self._lost:
                self._report(stage, self._mended(stage))

    def examine(self, stage: Stage) -> bool:
        """Test the device under the stage, and mend what answers wrong; whether it is there to answer."""
        program = stage.program
        if not isinstance(program, DeviceProgram):
            return True
        if program in self._lost:
            return False
        try:
            self._report(stage, program.examine())
        except DeviceLost as lost:
            self._lose(stage, program, lost)
        return program not in self._lost

    def inject(self, order: Inject, busy: Callable[[Stage], bool]) -> Injected:
        """Break something on purpose. Raises `UnknownName` for a stage that has no device here, and what the device raises."""
        able = {
            stage.name: (stage, stage.program)
            for stage in self._stages.values()
            if isinstance(stage.program, DeviceProgram) and stage.program not in self._lost
        }
        if not able:
            raise UnknownName(
                f"worker {self._who} runs no stage on an emulated device, so nothing of one can break there; name another worker"
            )
        if order.stage and order.stage not in able:
            raise UnknownName.among(f"stage on an emulated device of worker {self._who}", order.stage, able)
        name = order.stage or sorted(able)[int(np.random.default_rng(order.seed).integers(len(able)))]
        stage, program = able[name]
        did = program.inject(FaultOrder(order.fault, order.place, order.seed, order.stuck, busy(stage)))
        return Injected(name, did)

    def bearer(self, order: Inject) -> Stage | None:
        """The stage on the processor of whose state a bit is to flip, drawn among all that have one where the order names none;
        None where that falls to a stage on a device, or to none at all."""
        if order.fault != MEMBRANE_BIT:
            return None
        able = {stage.name: stage for stage in self._stages.values() if remembers(stage)}
        name = order.stage or (sorted(able)[int(np.random.default_rng(order.seed).integers(len(able)))] if able else "")
        stage = able.get(name)
        return None if stage is None or isinstance(stage.program, DeviceProgram) else stage

    def _computed(self, job: Job) -> tuple[list[Outcome], float]:
        """Run the job; where it is to be run twice, until two runs agree."""
        outcomes, busy_s = self._run(job)
        if not needed(self._twice, job):
            return outcomes, busy_s
        began_s = time.monotonic()
        again, more_s = self._run(job)
        unlike, found_s = 0, time.monotonic()
        while not alike(outcomes, again):
            unlike += 1
            if unlike == MOST_UNLIKE or not self.examine(job.stage):
                outcomes = _interrupted(job, f"what stage {job.stage.name} computes is another thing each time")
                break
            (outcomes, _), (again, _) = self._run(job), self._run(job)
        if unlike:
            self._tell_unlike(job, unlike, began_s, found_s)
        return outcomes, busy_s + more_s

    def _tell_unlike(self, job: Job, unlike: int, began_s: float, found_s: float) -> None:
        """Tell, as often as that was so, that two runs of the job have given unlike results."""
        LOGGER.warning("stage %s: %s, of what it was computing", job.stage.name, FLIPPED)
        now_s, count = time.monotonic(), len(job.visits)
        laps = (Lap("detect", 0.0, found_s - began_s), Lap("replay", found_s - began_s, now_s - found_s))
        detail = "two runs gave unlike results; computed again until two agreed"
        for _ in range(unlike):
            self._tell(
                StageMended(*job.stage.key, FLIPPED, "what was computed", detail, now_s - began_s, laps, 0, count)
            )

    def _mended(self, stage: Stage) -> Mending | None:
        """Mend the stage's device; None where that cannot be, which is told."""
        program = stage.program
        if not isinstance(program, DeviceProgram) or program in self._lost:
            return None
        try:
            return program.mend()
        except DeviceLost as lost:
            self._lose(stage, program, lost)
            return None

    def _report(self, stage: Stage, mending: Mending | None, replayed: int = 0) -> None:
        if mending is None:
            return
        LOGGER.warning("stage %s: %s, %s: %s", stage.name, mending.cause, mending.target, mending.detail)
        now_s, spans = time.monotonic(), mending.spans
        if replayed:
            spans = (*spans, Span("replay", spans[-1].ended_s, now_s))
        began_s = spans[0].began_s
        laps = tuple(Lap(each.name, each.began_s - began_s, each.ended_s - each.began_s) for each in spans)
        self._tell(
            StageMended(
                *stage.key,
                mending.cause,
                mending.target,
                mending.detail,
                now_s - began_s,
                laps,
                mending.bytes_written,
                replayed,
            )
        )

    def _lose(self, stage: Stage, program: DeviceProgram, lost: DeviceLost) -> None:
        LOGGER.error("stage %s has lost its device: %s", stage.name, lost)
        self._gone[ENGINES[stage.host.engine].device] = str(lost)
        report = StageLost(*stage.key, lost.cause, lost.target, str(lost), time.monotonic() - lost.began_s)
        self._lost[program] = report
        self._tell(report)


def _interrupted(job: Job, why: str) -> list[Outcome]:
    """What becomes of the job's requests where it cannot be computed here."""
    return [Outcome({}, {}, Interrupted(f"{why}; the request has to go elsewhere")) for _ in job.visits]
