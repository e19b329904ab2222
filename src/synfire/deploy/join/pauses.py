"""How long whoever runs a worker waits before he calls the door again."""

from __future__ import annotations

VAIN_S = (0.1, 0.5, 1.0, 2.0, 5.0)
"""Where the door was there and nothing came of it, in seconds: the more often in a row, the longer."""

AWAY_S = (0.05, 0.1, 0.2, *[0.4] * 75, 2.0)
"""Where nobody was there, which costs next to nothing: for half a minute the door may be back at any moment."""

LASTED_S = 30.0
"""A membership that lasted so long did not come to nothing."""


class Pauses:
    """Counts what came of calling. A door that is away is called often however often it was called before: what was in vain while it was
    there is another count, and neither is the worker's fault that has lost a door."""

    def __init__(self) -> None:
        self._vain = self._away = 0

    def after(self, answered: bool, lost: bool, lasted_s: float) -> float:
        """The pause after a membership, in seconds: whether anybody `answered` at the door, and whether it had joined and then `lost` the door."""
        if lasted_s > LASTED_S:
            self._vain = 0
        if lost:
            self._away = 0
        if lost or not answered:
            self._away += 1
            return AWAY_S[min(self._away, len(AWAY_S)) - 1]
        self._away = 0
        self._vain += 1
        return VAIN_S[min(self._vain, len(VAIN_S)) - 1]
