"""Which steps have begun in each session of a chain: one that was skipped at first begins later."""

from __future__ import annotations

from synfire.base.errors import UserError
from synfire.gateway.call import Call


class Begun:
    """What one chain's route remembers of sessions; of the newest `most` of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._steps: dict[str, dict[str, str]] = {}

    def arrive(self, call: Call) -> None:
        """A call begins. Raises `UserError` for a session that is not remembered."""
        if call.start:
            self._steps.pop(call.session, None)
            self._steps[call.session] = {}
            while len(self._steps) > self._most:
                del self._steps[next(iter(self._steps))]
        elif call.session not in self._steps:
            raise UserError(
                f"session {call.session!r} of chain {call.model!r} is not open; begin it with sequence_start=true"
            )

    def begins(self, call: Call, where: str) -> bool:
        """Whether the session begins at this step with this call, at each try of it."""
        return self._steps[call.session].setdefault(where, call.id) == call.id

    def leave(self, call: Call) -> None:
        """A call has been answered."""
        if call.end:
            self._steps.pop(call.session, None)
