"""What a gateway can tell of the failures behind it; whoever heals the deployment knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from synfire.wire.recovery import RecoveryRecord


class Recoveries(Protocol):
    """Asked by metrics and by `/api/events`."""

    spares_wanted: int

    @property
    def spares(self) -> int:
        """How many spares are ready now."""
        ...

    @property
    def counts(self) -> Mapping[tuple[str, str], int]:
        """How many recoveries there were since the start, by cause and outcome."""
        ...

    def recent(self, count: int) -> Sequence[RecoveryRecord]:
        """The newest records, the newest last; reads the catalog."""
        ...
