"""Cores of a chip: what a stage takes of them, and what there is for it. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class Cores(msgspec.Struct, frozen=True):
    """So many cores, of which `large` are of the chip's largest class: as a need those that no smaller one will do for, as a room those that
    there are.

    No known chip has more than two classes. A need fits a room exactly when both numbers do: what is small goes to cores of either class.
    """

    total: int = 0
    large: int = 0

    def __add__(self, other: Cores) -> Cores:
        return Cores(self.total + other.total, self.large + other.large)

    def __sub__(self, other: Cores) -> Cores:
        return Cores(self.total - other.total, self.large - other.large)

    def __str__(self) -> str:
        """In words; of what is left no more can be large than there is."""
        count = min(self.large, self.total)
        large = f" ({count} large)" if count > 0 else ""
        return f"{self.total} core{'s' * (self.total != 1)}{large}"

    def fit(self, room: Cores | None) -> bool:
        """Whether there is room for them; where nobody counts the cores there is for any."""
        return room is None or not self.total or (self.total <= room.total and self.large <= room.large)


NO_CORES = Cores()


def together(needs: Iterable[Cores | None]) -> Cores:
    """What several take together; those that are None take none."""
    return sum((each for each in needs if each is not None), NO_CORES)


def most(needs: Iterable[Cores | None]) -> Cores:
    """What suffices for each of several alone."""
    found = [each for each in needs if each is not None]
    return Cores(max((each.total for each in found), default=0), max((each.large for each in found), default=0))
