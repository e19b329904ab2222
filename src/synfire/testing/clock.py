"""A clock that stands still until it is told to move."""

from __future__ import annotations


class FakeClock:
    """A `synfire.base.clock.Clock` for tests."""

    def __init__(self, now_s: float = 0.0) -> None:
        self._now_s = now_s

    def now_s(self) -> float:
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Let time pass; it never runs backwards."""
        if seconds < 0:
            raise ValueError(f"time cannot go back by {-seconds} s")
        self._now_s += seconds
