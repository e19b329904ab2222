"""Which models stay in memory: who goes when its time is over, and who makes room for another one. Pure.

A resident is a model that was loaded because somebody called it. It stays for its `keep_s` after its last call. Another one that needs
the room has those go first that are of the lowest priority, and of these those that were called the longest ago; never one that is `busy`,
or of a priority above its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from synfire.base.errors import PermanentError, TemporaryError
from synfire.plan.costs import format_bytes

COME_BACK_S = 5.0
"""When whoever calls a model that has no room for now should ask again."""


@dataclass(frozen=True)
class Resident:
    """A model in memory: it takes `bytes`, its last call ended at `used_s` on the controller's clock, and it stays for `keep_s` seconds
    after that, `math.inf` for good."""

    name: str
    bytes: int
    used_s: float
    keep_s: float
    busy: bool = False
    priority: int = 0

    @property
    def until_s(self) -> float:
        """When it goes, if nobody calls it."""
        return math.inf if self.busy else self.used_s + self.keep_s


@dataclass(frozen=True)
class Room:
    """What residents may take together: `memory_bytes`, and places for `most_models`, as many as they like where that is None.
    `free_bytes` is what other programs leave at the moment, `model_bytes` what one model may take."""

    memory_bytes: int
    free_bytes: int
    most_models: int | None = None
    model_bytes: int | None = None

    def holds(self, staying: Sequence[Resident], going: Sequence[Resident], need_bytes: int) -> bool:
        """Whether another one fits beside those that stay, once the others are gone."""
        places = self.most_models is None or len(staying) < self.most_models
        ours = need_bytes + sum(each.bytes for each in staying) <= self.memory_bytes
        return places and ours and need_bytes <= self.free_bytes + sum(each.bytes for each in going)


def overdue(residents: Iterable[Resident], now_s: float) -> tuple[Resident, ...]:
    """Those whose time is over, the longest overdue first."""
    return tuple(sorted((each for each in residents if each.until_s <= now_s), key=lambda each: each.until_s))


def next_due_s(residents: Iterable[Resident]) -> float:
    """When the first of them goes; `math.inf` for never."""
    return min((each.until_s for each in residents), default=math.inf)


def making_room(
    name: str, need_bytes: int, residents: Sequence[Resident], room: Room, priority: int = 0
) -> tuple[Resident, ...] | None:
    """Who has to go so that the model `name` fits, nobody where it does already; None where it has to wait for one that is busy.

    Raises `PermanentError` for a model that would not fit alone, and `TemporaryError` where other programs have the memory, or models
    of a higher priority.
    """
    if room.model_bytes is not None and need_bytes > room.model_bytes:
        raise PermanentError(
            f"model {name!r} takes {format_bytes(need_bytes)} to run, and a model of the store may take {format_bytes(room.model_bytes)}; "
            "use weights of fewer bits, a shorter context, fewer answers at a time, or allow more with --memory-model"
        )
    if need_bytes > room.memory_bytes:
        raise PermanentError(
            f"model {name!r} takes {format_bytes(need_bytes)} to run, and all models may take {format_bytes(room.memory_bytes)} "
            "together; use weights of fewer bits, a shorter context, or allow more with --memory-models"
        )
    going = _going(need_bytes, residents, room, priority)
    if going is not None or any(each.busy for each in residents):
        return going
    above = [each.name for each in residents if each.priority > priority]
    if above and _going(need_bytes, residents, room, max(each.priority for each in residents)) is not None:
        raise TemporaryError(
            f"model {name!r} takes {format_bytes(need_bytes)} to run, and models of a priority above its own, {priority}, have the room: "
            f"{', '.join(above)}; call again when they are unloaded, or give it a priority with --priority",
            COME_BACK_S,
        )
    raise TemporaryError(
        f"model {name!r} takes {format_bytes(need_bytes)} to run, and {format_bytes(room.free_bytes)} are free on this machine, also "
        "when no other model is loaded; stop another program, or use weights of fewer bits",
        COME_BACK_S,
    )


def _going(need_bytes: int, residents: Sequence[Resident], room: Room, priority: int) -> tuple[Resident, ...] | None:
    """The fewest of the lowest priority that were called the longest ago; None where all that may go would not do."""
    idle = sorted(
        (each for each in residents if not each.busy and each.priority <= priority),
        key=lambda each: (each.priority, each.used_s, each.name),
    )
    going: list[Resident] = []
    while not room.holds(_without(residents, going), going, need_bytes):
        if not idle:
            return None
        going.append(idle.pop(0))
    for each in sorted(going, key=lambda each: (-each.priority, -each.used_s)):  # nobody goes in vain
        spared = [other for other in going if other is not each]
        if room.holds(_without(residents, spared), spared, need_bytes):
            going = spared
    return tuple(going)


def _without(residents: Sequence[Resident], going: Sequence[Resident]) -> list[Resident]:
    return [each for each in residents if each not in going]
