"""The steps of what reads a recording: its events are put into frames in one compiled pass, and rows handed on whole blocks at a time."""

from __future__ import annotations

from collections.abc import Sequence as Ports

import numpy as np

from synfire.base.compiled import compiled
from synfire.engines.cpu.step import ReferenceStep, StatelessStep, kernel_for
from synfire.ops import Array, State
from synfire.ops.event_frames import EventFrames
from synfire.ops.samples import each_sample
from synfire.ops.sequence import Sequence


@kernel_for(EventFrames)
class EventFramesStep(StatelessStep):
    """Each event is checked and put into its frame in the same pass; what is wrong with a recording the operator itself says."""

    def warm(self) -> None:
        self.apply(np.zeros((1, 1, 4), np.int64))

    def apply(self, *inputs: Array) -> Array:
        operator, (recordings,) = self.operator, inputs
        assert isinstance(operator, EventFrames)
        shape = (len(recordings), operator.steps, 2, operator.height, operator.width)
        frames = np.zeros(shape, self.output.kind.dtype)
        places = iter(frames)

        def fill(events: Array) -> Array:
            place = next(places)
            if not (_takes(events) and bin_events(_read_only(events), operator.dt_us, operator.counts, place)):
                place[...] = operator.frames(events)
            return place

        each_sample(fill, recordings)
        return frames


@kernel_for(Sequence)
class SequenceStep(ReferenceStep):
    """A block of rows is a view of the sample's own where all samples stand at the same row and none ends within it."""

    def run(self, state: State, inputs: Ports[Array], steps: int) -> tuple[State, Array]:
        assert isinstance(self.operator, Sequence)
        total, at, rows = self.operator.steps, state["step"], inputs[0][0]
        first = int(at[0])
        if first + steps <= total and (at == first).all():
            block = rows[:, first : first + steps].swapaxes(0, 1)
        else:
            block = rows[np.arange(len(rows)), (at + np.arange(steps)[:, None]) % total]
        return {"step": (at + steps) % total}, block


def _takes(events: Array) -> bool:
    """Whether the compiled pass reads such an array; the operator takes more, and refuses more."""
    return events.ndim == 2 and events.shape[1] == 4 and events.dtype == np.int64 and len(events) > 0


def _read_only(events: Array) -> Array:
    """The array as the compiled pass takes all of them, so that there is one of it."""
    view = np.ascontiguousarray(events).view()
    view.flags.writeable = False
    return view


@compiled
def bin_events(events: Array, dt_us: int, counts: bool, frames: Array) -> bool:
    """Put rows (t, x, y, p) into `frames`, all 0, of shape `(step, p, y, x)`; False, and anything in them, for rows that do not fit.

    A step is divided out only where the next one begins: events come in order of time.
    """
    steps, _, height, width = frames.shape
    begin = before = events[0, 0]
    step, until = 0, dt_us
    across, down = np.uint64(width), np.uint64(height)
    for row in range(events.shape[0]):
        t, x, y, p = events[row, 0], events[row, 1], events[row, 2], events[row, 3]
        since = t - begin
        misplaced = (np.uint64(x) >= across) | (np.uint64(y) >= down) | (np.uint64(p) > np.uint64(1))
        if misplaced | (t < before) | (since < 0):
            return False
        before = t
        if since >= until:
            step = since // dt_us
            until = (step + 1) * dt_us
        if step < steps:
            frames[step, p, y, x] = frames[step, p, y, x] + 1 if counts else 1
    return True
