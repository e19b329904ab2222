"""States at rest: what a request leaves at a stage between two of its frames, and a session between two calls.

Memory may lose a bit meanwhile, and no hardware tells. So a state that shall be used again gets a checksum when it comes out of
a program, and that is compared before the state goes in again. One that does not fit is void: the request is computed again from
its beginning, or its session from the last checkpoint on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from synfire.base.errors import Interrupted, UserError
from synfire.ops import State
from synfire.wire.checksums import checksum
from synfire.worker.stage import SessionSlot, Stage, Visit

MEMBRANE_BIT = "membrane-bit"
"""The injected fault by which a bit of a state flips."""

FLIPPED = "flipped membrane"
"""The cause of a record of that, wherever it was found."""


@dataclass(frozen=True)
class Flip:
    """A state was not what had been left: whose it is, in words, and whether a session's."""

    stage: Stage
    whose: str
    of_session: bool


class Membranes:
    """Lays states of visits to rest and checks them afterwards, if `checked`; and flips bits of them, where a fault wants that.

    `found` is told of every state that did not fit.
    """

    def __init__(self, checked: bool = True) -> None:
        self.found: Callable[[Flip], None] = lambda flip: None
        self._checked = checked
        self._due: WeakKeyDictionary[Stage, list[np.random.Generator]] = WeakKeyDictionary()

    def lay(self, visit: Visit, state: State) -> None:
        """The visit's state comes to rest: its next block, or its session's next call, begins with it."""
        visit.state = state
        visit.checksum = checksum(state) if self._checked and state else None
        if self._due and state:
            for rng in self._due.pop(visit.stage, ()):
                _flip(visit, rng)

    def check(self, visit: Visit) -> None:
        """The visit's state is about to be used. Raises `Interrupted` where it is not what was left."""
        if visit.checksum is None or visit.state is None:
            return
        wanted, visit.checksum = visit.checksum, None
        if checksum(visit.state) == wanted:
            return
        session = visit.first.session
        whose = f"session {session!r}" if session else f"request {visit.request.id}"
        self.found(Flip(visit.stage, whose, bool(session)))
        raise Interrupted(
            f"the state of {whose} at stage {visit.stage.name} is not what was left there: memory has lost a bit; try again"
        )

    def flip(self, stage: Stage, visits: Iterable[Visit], seed: int) -> str:
        """Flip a bit of a state that rests at the stage, of its `visits` or sessions, or else of the next one that comes to
        rest; say which. Raises `UserError` where none ever does."""
        if not remembers(stage):
            raise UserError(
                f"stage {stage.name} has no membrane, nor any other state, of which a bit could flip; name another"
            )
        rng = np.random.default_rng(seed)
        resting: list[Visit | SessionSlot] = [each for each in visits if each.checksum is not None]
        resting += [slot for slot in stage.sessions.values() if slot.rests]
        if resting:
            return _flip(resting[int(rng.integers(len(resting)))], rng)
        self._due.setdefault(stage, []).append(rng)
        return "a bit flips of the next state that is left there"


def remembers(stage: Stage) -> bool:
    """Whether anything of a request stays at the stage from one block to the next."""
    return stage.program is not None and any(array.nbytes for array in stage.program.initial_state(1).values())


def _flip(holder: Visit | SessionSlot, rng: np.random.Generator) -> str:
    state = holder.state or {}
    names = [name for name in state if state[name].nbytes]
    sizes = np.array([state[name].nbytes for name in names])
    name = names[int(rng.choice(len(names), p=sizes / sizes.sum()))]
    changed = np.array(state[name], order="C")
    octet, bit = int(rng.integers(changed.nbytes)), int(rng.integers(8))
    changed.reshape(-1).view(np.uint8)[octet] ^= np.uint8(1 << bit)
    holder.state = {**state, name: changed}
    return f"bit {bit} of byte {octet} of the state {name!r} is flipped"
