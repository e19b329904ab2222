"""What a gateway can tell of the failures behind it; whoever heals the deployment knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from synfire.store.names import parted
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
    def awaited(self) -> bool:
        """Whether somebody has still to say which models there are."""
        ...

    @property
    def vacancies(self) -> Mapping[str, int]:
        """How many places no worker fills, by kind, where others begin them."""
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
        self.vacancies: Mapping[str, int] = {}
        self.wishes: Sequence[Wished] = ()
        self.scaled: frozenset[str] = frozenset()
        """The models of which something comes and goes with their calls, by the names that these call."""

        self.traffic: Sequence[TrafficCount] = ()
        self.awaited = True  # for all that is known before there is any news
        self._read = read

    def hear(self, news: Standing) -> None:
        """The controller tells how things stand."""
        self.spares, self.spares_wanted = news.spares, news.spares_wanted
        self.counts = {(cause, outcome): count for cause, outcome, count in news.recoveries}
        self.conditions, self.workers, self.wishes = news.conditions, news.workers, news.wishes
        self.traffic, self.awaited, self.vacancies = news.traffic, news.awaited, news.vacancies
        sleepy = {parted(each.model, "")[0] for each in news.plans if any(stage.may_sleep for stage in each.stages)}
        self.scaled = frozenset(sleepy.union(each.name for each in news.wishes if each.wish.scale is not None))

    def unsure(self, name: str) -> str:
        """Why a name that nothing answers may be answered soon; empty where nobody has asked for it, nor may still do so."""
        asked = next((each for each in self.wishes if each.name == name), None)
        if asked is not None and asked.status != "leaving" and (asked.wish.replicas or asked.wish.scale):
            if asked.status == "failed":
                return f"it has been asked for, and is not served as it is wanted: {asked.reason}"
            return "it has been asked for, and is being read and planned"
        if self.awaited:
            return "this deployment has just begun, and has not been told yet which models it is to serve"
        return ""

    def recent(self, count: int) -> Sequence[RecoveryRecord]:
        return self._read(count)
