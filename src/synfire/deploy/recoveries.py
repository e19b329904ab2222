"""Recoveries of one deployment: written down, counted, told."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from synfire.base.clock import SystemClock
from synfire.base.log import LOGGER
from synfire.control.record import RecoveryLog, numbers, record_of
from synfire.control.state import Recovery
from synfire.wire.condition import Condition
from synfire.wire.messages import Hand
from synfire.wire.recovery import Outcome, RecoveryRecord
from synfire.wire.traffic import TrafficCount
from synfire.wire.wish import Wished


class LocalRecoveries:
    """What a `synfire.gateway.recoveries.Recoveries` is of a local deployment; `idle` counts its spares, `conditions` says
    how its models are served, and `hands` who is counted on."""

    def __init__(
        self,
        deployment: str,
        spares_wanted: int,
        idle: Callable[[], int],
        conditions: Callable[[], Mapping[str, Condition]],
        log: RecoveryLog,
        hands: Callable[[], Sequence[Hand]] = tuple,
    ) -> None:
        self.spares_wanted = spares_wanted
        self.awaited = False
        self.vacancies: Mapping[str, int] = {}
        self._deployment = deployment
        self._idle = idle
        self._conditions = conditions
        self._log = log
        self._hands = hands
        self._counted: dict[str, tuple[str, str]] = {}

    @property
    def spares(self) -> int:
        return self._idle()

    @property
    def counts(self) -> Mapping[tuple[str, str], int]:
        return Counter(tuple(self._counted.values()))

    @property
    def conditions(self) -> Mapping[str, Condition]:
        return self._conditions()

    @property
    def wishes(self) -> Sequence[Wished]:
        """None: only a controller of its own carries any out."""
        return ()

    @property
    def traffic(self) -> Sequence[TrafficCount]:
        """None: the only gateway knows by itself."""
        return ()

    @property
    def workers(self) -> Sequence[Hand]:
        return self._hands()

    def recent(self, count: int) -> Sequence[RecoveryRecord]:
        return self._log.recent(count)

    def recall(self) -> frozenset[int]:
        """Count what is on record of the deployment already; reads the catalog. The ids that recoveries of a controller have."""
        kept = self._log.kept_of(self._deployment)
        for record in kept:
            self.count(record.id, record.cause.kind, record.outcome)
        return numbers(kept, self._deployment)

    def count(self, id: str, cause: str, outcome: Outcome) -> None:
        """A record is in the catalog. One that is counted already is not counted again."""
        self._counted[id] = cause, outcome

    def keep(self, recovery: Recovery) -> None:
        """Write a recovery down; may be called in a thread."""
        record = dated(recovery, self._deployment)
        self.count(record.id, record.cause.kind, record.outcome)
        tell(record)
        self._log.append(record)


def dated(recovery: Recovery, deployment: str) -> RecoveryRecord:
    """What is kept of a finished recovery, in the time of calendars."""
    return record_of(recovery, deployment, time.time() - SystemClock().now_s() + recovery.began_s)


def tell(record: RecoveryRecord) -> None:
    """Say in the log what has come of it."""
    LOGGER.warning(
        "%s: %s in %.0f ms, %d requests replayed%s",
        record.cause,
        record.outcome,
        record.duration_s * 1e3,
        record.requests_replayed,
        f"; {record.reason}" if record.reason else "",
    )
