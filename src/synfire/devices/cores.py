"""Cores of a chip and the events that they take: what a stage wants of them, and what there is for it. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class Cores(msgspec.Struct, frozen=True):
    """So many cores, of which `large` are of the chip's largest class: as a need those that no smaller one will do for, as a room those that
    there are. `keps` are the thousands of events a second that they take together: None as a need where nobody says which load is to be
    borne, and as a room where nobody knows what the chip bears, and any load may go.

    No known chip has more than two classes. A need fits a room exactly when all numbers do: what is small goes to cores of either class.
    """

    total: int = 0
    large: int = 0
    keps: int | None = None

    def __add__(self, other: Cores) -> Cores:
        """What two needs come to."""
        known = [each.keps for each in (self, other) if each.keps is not None]
        return Cores(self.total + other.total, self.large + other.large, sum(known) if known else None)

    def __sub__(self, other: Cores) -> Cores:
        """What a need leaves of a room."""
        left = None if self.keps is None else self.keps - (other.keps or 0)
        return Cores(self.total - other.total, self.large - other.large, left)

    def __str__(self) -> str:
        """In words; of what is left no more can be large than there is."""
        count = min(self.large, self.total)
        large = f" ({count} large)" if count > 0 else ""
        load = "" if self.keps is None else f" and {self.keps} KEPS"
        return f"{self.total} core{'s' * (self.total != 1)}{large}{load}"

    def fit(self, room: Cores | None) -> bool:
        """Whether there is room for them; where nobody counts the cores there is for any."""
        if room is None or not self.total:
            return True
        borne = room.keps is None or not self.keps or self.keps <= room.keps
        return self.total <= room.total and self.large <= room.large and borne


NO_CORES = Cores()


def together(needs: Iterable[Cores | None]) -> Cores:
    """What several take together; those that are None take none."""
    return sum((each for each in needs if each is not None), NO_CORES)


def most(needs: Iterable[Cores | None]) -> Cores:
    """What suffices for each of several alone."""
    found = [each for each in needs if each is not None]
    return Cores(
        max((each.total for each in found), default=0),
        max((each.large for each in found), default=0),
        max((each.keps for each in found if each.keps is not None), default=None),
    )
