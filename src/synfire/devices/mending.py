"""What a device tells of its own faults: that it is broken, that it was mended, or that it is lost."""

from __future__ import annotations

import time
from dataclasses import dataclass

from synfire.base.errors import PermanentError


class DeviceFault(PermanentError):
    """Raised when a device reports a broken part while it computes: what it gave since is void. Mend it, then call again."""


class DeviceLost(DeviceFault):
    """Raised when a device cannot be mended; what ran on it has to go elsewhere.

    `cause` and `target` name what broke first, `began_s` when the device reported it, on the monotonic clock.
    """

    def __init__(self, cause: str, target: str, reason: str, began_s: float) -> None:
        super().__init__(reason)
        self.cause = cause
        self.target = target
        self.began_s = began_s


@dataclass(frozen=True)
class FaultOrder:
    """A fault that is to be injected: what kind, and where, in the device's own words; an empty `place` is drawn from `seed`.

    `stuck` is for bits: held for good, and not flipped once. `busy` says that a call waits for the device: then the fault
    strikes in the midst of it.
    """

    kind: str
    place: str = ""
    seed: int = 0
    stuck: bool = False
    busy: bool = False


@dataclass(frozen=True)
class Span:
    """One step of a recovery, on the monotonic clock, in seconds."""

    name: str
    began_s: float
    ended_s: float


@dataclass(frozen=True)
class Mending:
    """How a device went on in spite of a fault.

    `cause` is what broke, such as "core dead", `target` where, `detail` what was done about it, and `bytes_written` what that
    took.
    """

    cause: str
    target: str
    detail: str
    spans: tuple[Span, ...]
    bytes_written: int = 0


class Story:
    """Notes when each step of a recovery ended; one begins where the one before it ended."""

    def __init__(self, began_s: float) -> None:
        self._last_s = began_s
        self._spans: dict[str, Span] = {}

    def end(self, name: str) -> None:
        """The step has ended. One that is taken again goes on from its first beginning."""
        now_s = time.monotonic()
        began_s = self._spans[name].began_s if name in self._spans else self._last_s
        self._spans[name] = Span(name, began_s, now_s)
        self._last_s = now_s

    @property
    def spans(self) -> tuple[Span, ...]:
        """The steps so far, in the order of their beginnings."""
        return tuple(self._spans.values())
