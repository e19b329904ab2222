"""What a gateway can tell of the failures behind it; whoever heals the deployment knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from synfire.wire.condition import Condition
from synfire.wire.messages import Hand, Standing
from synfire.wire.recovery import RecoveryRecord
from synfire.wire.traffic import TrafficCount
from synfire.wire.wish import Wished


class Recoveries(Protocol):
    """Asked by metrics and by `/api/events`."""

    spares_wanted: int

    @property
    def spares(self) -> int:
        """How many spares are ready now."""
        ...

    @property
    def counts(self) -> Mapping[tuple[str, str], int]:
        """How many recoveries of the deployment are on record, by cause and outcome."""
        ...

    @property
    def conditions(self) -> Mapping[str, Condition]:
        """How each model is served, by name."""
        ...

    @property
    def wishes(self) -> Sequence[Wished]:
        """What was asked for by HTTP."""
        ...

    @property
    def traffic(self) -> Sequence[TrafficCount]:
        """What all gateways together have counted of names that answer by a rule."""
        ...

    @property
    def workers(self) -> Sequence[Hand]:
        """The workers that are counted on."""
        ...

    def recent(self, count: int) -> Sequence[RecoveryRecord]:
        """The newest records, the newest last; reads the catalog."""
        ...


class ToldRecoveries:
    """What a gateway in a process of its own knows: the controller's latest news. `read` reads the catalog."""

    def __init__(self, read: Callable[[int], Sequence[RecoveryRecord]]) -> None:
        self.spares = self.spares_wanted = 0
        self.counts: Mapping[tuple[str, str], int] = {}
        self.conditions: Mapping[str, Condition] = {}
        self.workers: Sequence[Hand] = ()
        self.wishes: Sequence[Wished] = ()
        self.traffic: Sequence[TrafficCount] = ()
        self._read = read

    def hear(self, news: Standing) -> None:
        """The controller tells how things stand."""
        self.spares, self.spares_wanted = news.spares, news.spares_wanted
        self.counts = {(cause, outcome): count for cause, outcome, count in news.recoveries}
        self.conditions, self.workers, self.wishes = news.conditions, news.workers, news.wishes
        self.traffic = news.traffic

    def recent(self, count: int) -> Sequence[RecoveryRecord]:
        return self._read(count)
