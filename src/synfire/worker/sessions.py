"""Sessions at a stage: the calls of one come in turn, and each finds the state that the last one left.

A session's state never outlives a call that failed: what it would be then, nobody could tell. It is gone when its last call
ends it, when it is forgotten, or when nobody has used it for too long.
"""

from __future__ import annotations

from synfire.base.errors import Interrupted, Overloaded, TemporaryError, UserError
from synfire.ops import State
from synfire.wire.checksums import checksum
from synfire.wire.messages import Restore
from synfire.worker.stage import SessionSlot, Stage, Visit


def join(visit: Visit, max_sessions: int) -> None:
    """Put a call at the end of its session's queue, where it belongs to one. Raises `Overloaded` for one session too many."""
    stage, name = visit.stage, visit.first.session
    if not name:
        return
    if name not in stage.sessions:
        if len(stage.sessions) >= max_sessions:
            raise Overloaded(
                f"stage {stage.name} keeps {len(stage.sessions)} sessions, the limit max_sessions={max_sessions}; end some"
            )
        stage.sessions[name] = SessionSlot()
    stage.sessions[name].queue.append(visit)


def begin(visit: Visit) -> None:
    """Give a new visit its state: fresh, or what the session's last call left. Raises `UserError`."""
    if visit.state is not None:
        return
    slot = visit.session
    if slot is None or visit.first.start:
        program = visit.stage.program
        visit.state = program.initial_state(visit.batch) if program is not None else {}
        visit.fresh = True
    elif slot.state is None:
        raise UserError(
            f"session {visit.first.session!r} is not known at stage {visit.stage.name}: it never began, ended, failed, "
            "or was unused for too long; begin it with sequence_start=true"
        )
    elif slot.batch != visit.batch:
        raise UserError(
            f"session {visit.first.session!r} has a batch of {slot.batch}, this call has {visit.batch}; keep it equal"
        )
    else:
        visit.state, visit.checksum = slot.state, slot.checksum


def leave(visit: Visit, broken: bool) -> Visit | None:
    """End a call: its state is kept for the next one, unless it broke or was the last. Gives the call whose turn it is now."""
    slot = visit.session
    if slot is None:
        return None
    slot.queue.remove(visit)
    if visit.state is not None:
        slot.state, slot.checksum = (None, None) if broken or visit.first.end else (visit.state, visit.checksum)
        slot.batch = visit.batch
        slot.used_s = visit.request.used_s
    if slot.queue:
        return slot.queue[0]
    if slot.state is None:
        del visit.stage.sessions[visit.first.session]
    return None


def forget(stage: Stage, session: str) -> None:
    """Drop the session's state."""
    slot = stage.sessions.get(session)
    if slot is not None:
        slot.state = slot.checksum = None
        if not slot.queue:
            del stage.sessions[session]


def restore(stage: Stage, message: Restore, state: State, now_s: float) -> None:
    """Let the session go on from a portable `state`.

    Raises `Interrupted` while a call of it is here, `UserError` for a state of another engine or of another version,
    `TemporaryError` for one that is damaged.
    """
    _require_fitting(stage, message, state)
    if message.checksum is not None and checksum(state) != message.checksum:
        raise TemporaryError(
            f"session {message.session!r} cannot go on at stage {stage.name}: its checkpoint is damaged, memory has lost a bit of "
            "it; begin it again with sequence_start=true"
        )
    slot = stage.sessions.get(message.session)
    if slot is not None and slot.queue:
        raise Interrupted(
            f"session {message.session!r} at stage {stage.name} is in use and cannot be restored; try again"
        )
    own = stage.program.own(state) if stage.program is not None else state
    again = None if message.checksum is None else checksum(own)
    stage.sessions[message.session] = SessionSlot(state=own, batch=message.batch, used_s=now_s, checksum=again)


def _require_fitting(stage: Stage, message: Restore, state: State) -> None:
    program = stage.program
    fresh = program.portable(program.initial_state(message.batch)) if program is not None else {}
    for name, array in fresh.items():
        found = state.get(name)
        if found is None or found.dtype != array.dtype or found.shape != array.shape:
            has = "nothing" if found is None else f"{found.dtype} of shape {list(found.shape)}"
            raise UserError(
                f"session {message.session!r} cannot go on at stage {stage.name}: engine {stage.host.engine!r} takes {name!r} as "
                f"{array.dtype} of shape {list(array.shape)}, and its checkpoint, which another engine or version has made, "
                f"holds {has}; begin the session anew"
            )
    if message.maker != stage.maker:
        raise UserError(
            f"session {message.session!r} cannot go on at stage {stage.name}: its checkpoint was made by {message.maker or 'nobody'}, "
            f"and this is {stage.maker}; begin the session anew"
        )


def expire(stage: Stage, oldest_s: float) -> None:
    """Drop the sessions that nobody has used since `oldest_s`."""
    for name in [name for name, slot in stage.sessions.items() if not slot.queue and slot.used_s < oldest_s]:
        del stage.sessions[name]
