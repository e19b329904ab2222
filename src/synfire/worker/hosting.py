"""The stages of one worker, by (model, stage): which may come, which epoch they are in, which one a frame is for."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from synfire.base.errors import Interrupted, PermanentError, TemporaryError, UnknownName
from synfire.devices import DEVICES, Cores
from synfire.devices.cores import together
from synfire.engines import ENGINES, DeviceProgram
from synfire.plan.plan import GATEWAY
from synfire.wire.messages import Frame, LinkCount, Relink, StageCount
from synfire.worker.stage import LinkTally, Stage


class Stages(dict[tuple[str, str], Stage]):
    """A worker's stages. `who` is the worker, for the words of errors.

    `on_devices` are those that run on hardware which may say that it is broken: they are looked after all the time, and a
    worker of a hundred models must not go through all of them for that.
    """

    def __init__(self, who: str, parameter_bytes: int) -> None:
        self.on_devices: tuple[tuple[Stage, DeviceProgram], ...] = ()
        self._who = who
        self._room = parameter_bytes
        self._cores: dict[str, Cores | None] = {}

    def add(self, stage: Stage) -> Stage | None:
        """Take up a stage, and give the one whose place it takes. Raises `PermanentError` when its parameters do not fit, or what it takes of
        the cores of its device."""
        held = sum(each.parameter_bytes for key, each in self.items() if key != stage.key)
        if held + stage.parameter_bytes > self._room:
            raise PermanentError(
                f"worker {self._who} has no room for stage {stage.name}: its parameters take {stage.parameter_bytes} bytes, "
                f"{held} of {self._room} are taken; place it elsewhere, or raise parameter_bytes"
            )
        self._require_cores(stage)
        old = self.get(stage.key)
        self[stage.key] = stage
        self._look_over()
        return old

    def remove(self, model: str, names: Collection[str] = ()) -> list[Stage]:
        """Drop those stages of the model that are named, all where none is, and give them."""
        gone = [self.pop(key) for key in list(self) if key[0] == model and (not names or key[1] in names)]
        self._look_over()
        return gone

    def relink(self, relink: Relink) -> list[Stage]:
        """Take stages into a new epoch, with new links into and out of them, and give them.

        Raises `UnknownName` for a stage that is not here, and `TemporaryError` for an epoch that is over; nothing is
        changed then.
        """
        stages = [(self.named(relink.model, name), arriving, leaving) for name, arriving, leaving in relink.stages]
        for stage, _, _ in stages:
            if relink.epoch < stage.host.epoch:
                raise TemporaryError(
                    f"stage {stage.name} is in epoch {stage.host.epoch}; a route of epoch {relink.epoch} is over"
                )
        for stage, arriving, leaving in stages:
            stage.relink(relink.epoch, arriving, leaving)
        return [stage for stage, _, _ in stages]

    def named(self, model: str, name: str) -> Stage:
        """The stage of that name. Raises `UnknownName`."""
        stage = self.get((model, name))
        if stage is None:
            names = sorted(each.name for each in self.values())
            raise UnknownName.among(f"stage on worker {self._who}", f"{model}.{name}", names)
        return stage

    def routed(self, model: str, name: str) -> Stage:
        """The stage that a route leads to. Raises `Interrupted` where it is not here: it was moved, or is being unloaded."""
        stage = self.get((model, name))
        if stage is None:
            raise Interrupted(
                f"stage {name} of model {model!r} is not on worker {self._who}: the route has changed; try again"
            )
        return stage

    def awaiting(self, frame: Frame) -> Stage:
        """The stage where the frame begins a visit. Raises `UnknownName` where it is asked for alone and not here, and
        `Interrupted` where a route led it here in vain: to no stage, to one of another epoch, or past the frame's first ones."""
        stage = self.named(frame.model, frame.receiver) if frame.alone else self.routed(frame.model, frame.receiver)
        if frame.epoch != stage.host.epoch and not frame.alone:
            raise Interrupted(
                f"a frame of epoch {frame.epoch} reached stage {stage.name}, which is in epoch {stage.host.epoch}: the "
                "route has changed; try again"
            )
        if frame.number:
            raise Interrupted(
                f"frame {frame.number} of request {frame.request} reached stage {stage.name}, but the ones before it did "
                "not; try again"
            )
        return stage

    def count(self, requests: Mapping[tuple[str, str], int]) -> tuple[StageCount, ...]:
        """What every stage did so far; `requests` is how many are at which now."""
        return tuple(_count(stage, requests.get(stage.key, 0)) for stage in self.values())

    def _require_cores(self, stage: Stage) -> None:
        """Raise where the stage and the others on its device take more cores of it than this worker may use. What was prepared for them is one
        program, however many models have it."""
        if not isinstance(stage.program, DeviceProgram) or stage.program.cores is None:
            return
        device = _device(stage)
        if device not in self._cores:  # looked up once: it is what the worker has joined with
            self._cores[device] = DEVICES[device].room()
        room, others = self._cores[device], [each for each in self.on_devices if each[0].key != stage.key]
        held = together(each.cores for each in {program for one, program in others if _device(one) == device})
        if room is not None and not (stage.program.cores + held).fit(room):
            raise PermanentError(
                f"worker {self._who} has not the cores for stage {stage.name}: it takes {stage.program.cores}, and {held} of the "
                f"{room} that the worker may use of its {device} are taken; place it elsewhere, or let the worker use more"
            )

    def _look_over(self) -> None:
        self.on_devices = tuple(
            (stage, stage.program) for stage in self.values() if isinstance(stage.program, DeviceProgram)
        )


def _device(stage: Stage) -> str:
    return ENGINES[stage.host.engine].device


def _count(stage: Stage, requests: int) -> StageCount:
    tally = stage.tally
    links = tuple(_sent(receiver, link) for receiver, link in stage.links.items())
    return StageCount(
        *stage.key,
        tally.jobs,
        tally.samples,
        tally.steps,
        tally.busy_s,
        tally.failures,
        stage.parameter_bytes,
        links,
        stage.host.epoch,
        _sent(GATEWAY, stage.checkpoints),
        tally.spikes,
        tally.places,
        requests,
        tally.active,
        tally.arrived,
        *((0, 0) if stage.program is None else stage.program.summed),
    )


def _sent(receiver: str, tally: LinkTally) -> LinkCount:
    return LinkCount(receiver, tally.frames, tally.encoded_bytes, tally.array_bytes, tally.send_s)
