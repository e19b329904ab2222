"""The devices under a worker's stages: mended where that can be, and reported where it cannot.

A device that breaks while it computes gives nothing: the job in flight is fenced by that. Its operators are then linked onto
cores that are left, proved, and the job is computed again, from the states and inputs that it still holds. So a request notices
nothing but the time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping

import numpy as np

from synfire.base.errors import Interrupted, PermanentError, UnknownName
from synfire.base.log import LOGGER
from synfire.devices.mending import DeviceFault, DeviceLost, FaultOrder, Mending, Span
from synfire.engines import ENGINES, DeviceProgram
from synfire.engines.engine import PROCESSOR
from synfire.wire.messages import Inject, Injected, Lap, StageLost, StageMended
from synfire.worker.job import Job, Outcome
from synfire.worker.stage import Stage

Key = tuple[str, str]
Report = StageMended | StageLost


class Devices:
    """Cares for the devices of `stages`, by (model, stage). `tell` is given what whoever controls the worker should know.

    `installed` are the devices that worker `who` has beside its processor; None: every one that an engine asks for.
    """

    def __init__(
        self,
        who: str,
        stages: Mapping[Key, Stage],
        tell: Callable[[Report], None],
        installed: Collection[str] | None = None,
    ) -> None:
        self._who = who
        self._stages = stages
        self._tell = tell
        self._installed = installed
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
                outcomes, busy_s = job.run()
            except DeviceFault:
                if mending is not None:  # it broke once more, in the replay
                    self._report(job.stage, mending)
                mending = self._mended(job.stage)
                if mending is None:
                    lost = Interrupted(
                        f"the device under stage {job.stage.name} is lost; the request has to go elsewhere"
                    )
                    return [Outcome({}, {}, lost) for _ in job.visits], 0.0
                continue
            if mending is not None:
                self._report(job.stage, mending, len(job.visits))
            return outcomes, busy_s

    def look(self) -> None:
        """Mend what devices have reported since."""
        for stage in self._stages.values():
            if isinstance(stage.program, DeviceProgram) and stage.program.ailing and stage.program not in self._lost:
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
