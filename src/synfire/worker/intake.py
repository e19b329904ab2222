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
    where = f"frame {frame.number} of request {frame.request} from {frame.sender!r} to stage {stage.name}"
    if frame.number > expected:
        raise Interrupted(f"{where}: frame {expected} was lost; try again")
    if len(visit.inbox[frame.sender]) > 2 * stage.host.window:
        raise UserError(f"{where}: {len(visit.inbox[frame.sender])} frames wait, the window is {stage.host.window}")
    wanted = _sources(stage, frame)
    if set(arrays) != set(wanted):
        raise UserError(f"{where} carries {sorted(arrays)}; the link carries {sorted(wanted)}")
    for name, array in arrays.items():
        _check_array(stage, frame, name, array, where)


def _sources(stage: Stage, frame: Frame) -> tuple[str, ...]:
    """The signals that travel in the frame: frame 0 has those that come once, too."""
    sources = tuple(stage.inputs) if frame.alone else stage.arrivals[frame.sender].sources
    return sources if frame.number == 0 else tuple(s for s in sources if stage.inputs[s].timed)


def _check_array(stage: Stage, frame: Frame, name: str, array: Array, where: str) -> None:
    signal = stage.inputs[name]
    lead = 2 if signal.timed else 1
    fits = len(array.shape) == lead + len(signal.shape) and all(
        wanted in (-1, got) for wanted, got in zip(signal.shape, array.shape[lead:], strict=True)
    )
    if not fits or array.dtype != signal.kind.dtype or 0 in array.shape[:lead]:
        axes = "(steps, batch, …)" if signal.timed else "(batch, …)"
        raise UserError(
            f"{where}: {name!r} is {array.dtype} of shape {list(array.shape)}; it takes {axes} of {signal} in "
            f"{signal.kind.dtype}"
        )
    if signal.timed and array.shape[0] != frame.steps:
        raise UserError(f"{where}: {name!r} holds {array.shape[0]} steps, the frame says {frame.steps}")
