"""What a frame from outside must be like before a stage takes it in."""

from __future__ import annotations

from collections.abc import Mapping

from synfire.base.errors import Interrupted, UserError
from synfire.ops import Array
from synfire.wire.messages import Frame
from synfire.worker.stage import Stage, Visit


def check_frame(visit: Visit, frame: Frame, arrays: Mapping[str, Array]) -> None:
    """Raise `UserError` unless the frame fits the link that it came by, `Interrupted` where one before it was lost."""
    stage, expected = visit.stage, visit.expected[frame.sender]
    if frame.number > expected:
        raise Interrupted(f"{_where(stage, frame)}: frame {expected} was lost; try again")
    waiting = len(visit.inbox[frame.sender])
    if waiting > 2 * stage.host.window:
        raise UserError(f"{_where(stage, frame)}: {waiting} frames wait, the window is {stage.host.window}")
    wanted = _sources(stage, frame)
    if arrays.keys() != set(wanted):
        raise UserError(f"{_where(stage, frame)} carries {sorted(arrays)}; the link carries {sorted(wanted)}")
    for name, array in arrays.items():
        _check_array(stage, frame, name, array)


def _where(stage: Stage, frame: Frame) -> str:
    return f"frame {frame.number} of request {frame.request} from {frame.sender!r} to stage {stage.name}"


def _sources(stage: Stage, frame: Frame) -> tuple[str, ...]:
    """The signals that travel in the frame: frame 0 has those that come once, too."""
    sources = tuple(stage.inputs) if frame.alone else stage.arrivals[frame.sender].sources
    return sources if frame.number == 0 else tuple(s for s in sources if stage.inputs[s].timed)


def _check_array(stage: Stage, frame: Frame, name: str, array: Array) -> None:
    signal = stage.inputs[name]
    lead = 2 if signal.timed else 1
    own = array.shape[lead:]
    fits = own == signal.shape or (
        len(own) == len(signal.shape)
        and all(wanted in (-1, got) for wanted, got in zip(signal.shape, own, strict=True))
    )
    if not fits or len(array.shape) < lead or array.dtype != signal.kind.dtype or 0 in array.shape[:lead]:
        axes = "(steps, batch, …)" if signal.timed else "(batch, …)"
        raise UserError(
            f"{_where(stage, frame)}: {name!r} is {array.dtype} of shape {list(array.shape)}; it takes {axes} of {signal} in "
            f"{signal.kind.dtype}"
        )
    if signal.timed and array.shape[0] != frame.steps:
        raise UserError(f"{_where(stage, frame)}: {name!r} holds {array.shape[0]} steps, the frame says {frame.steps}")
