"""Recoveries of one deployment: written down, counted, told."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence

from synfire.base.clock import SystemClock
from synfire.base.log import LOGGER
from synfire.control.record import RecoveryLog, record_of
from synfire.control.state import Recovery
from synfire.wire.recovery import RecoveryRecord


class LocalRecoveries:
    """What a `synfire.gateway.recoveries.Recoveries` is of a local deployment; `idle` counts its spares."""

    def __init__(self, deployment: str, spares_wanted: int, idle: Callable[[], int], log: RecoveryLog) -> None:
        self.spares_wanted = spares_wanted
        self.counts: Counter[tuple[str, str]] = Counter()
        self._deployment = deployment
        self._idle = idle
        self._log = log

    @property
    def spares(self) -> int:
        return self._idle()

    def recent(self, count: int) -> Sequence[RecoveryRecord]:
        return self._log.recent(count)

    def keep(self, recovery: Recovery) -> None:
        """Write a recovery down; may be called in a thread."""
        record = record_of(recovery, self._deployment, time.time() - SystemClock().now_s() + recovery.began_s)
        self.counts[record.cause.kind, record.outcome] += 1
        LOGGER.warning(
            "%s of worker %s: %s in %.0f ms, %d requests replayed%s",
            record.cause.kind,
            record.worker,
            record.outcome,
            record.duration_s * 1e3,
            record.requests_replayed,
            f"; {record.reason}" if record.reason else "",
        )
        self._log.append(record)
