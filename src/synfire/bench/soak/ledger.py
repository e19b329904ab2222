"""What was seen in a soak: requests by what came of them, what happened and when, and what excuses errors."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from synfire.bench.soak.claims import Claim, check_claims
from synfire.bench.soak.judgement import PROVISIONAL, Exchange, Excuse, judged
from synfire.wire.recovery import RecoveryRecord


class Ledger:
    """Judges every exchange as it is told, and keeps count."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.classes: Counter[str] = Counter()
        self.waits_s: defaultdict[str, list[float]] = defaultdict(list)
        self.strokes: Counter[str] = Counter()
        self.story: list[tuple[float, str]] = []
        self.excuses: list[Excuse] = []
        self.claims: list[Claim] = []
        self.began_s = time.monotonic()

    def start(self) -> None:
        """Count the time from now on."""
        self.began_s = time.monotonic()

    @property
    def now_s(self) -> float:
        """How long the soak has lasted."""
        return time.monotonic() - self.began_s

    def note(self, exchange: Exchange) -> None:
        """A request has ended, or could not be sent. Raises `Violation` where nothing excuses how."""
        self.requests[exchange.kind] += exchange.outcome != "unreached"
        found = judged(exchange, self.excuses)
        self.classes[found] += 1
        if found in PROVISIONAL:
            self.claims.append(Claim(exchange, found))
        if found == "right":
            self.waits_s[exchange.kind].append(exchange.ended_s - exchange.sent_s)

    def settle(self, records: Sequence[RecoveryRecord]) -> None:
        """What was let pass for the time being must be on record. Raises `Violation` for what is not."""
        check_claims(self.claims, self.excuses, records, time.time() - time.monotonic())
        self.claims.clear()

    def tell(self, text: str) -> None:
        """Something happened."""
        self.story.append((self.now_s, text))

    def lines(self) -> Iterator[str]:
        """The story, a line each."""
        return (f"{at_s:8.2f} s  {text}" for at_s, text in self.story)

    @contextmanager
    def excusing(self, kind: str, model: str = "") -> Iterator[None]:
        """In the block a stroke of this kind has an effect; where one is named, on a model."""
        excuse = self.excuse(kind, model)
        yield
        self.revise(excuse, until_s=time.monotonic())

    def excuse(self, kind: str, model: str = "") -> Excuse:
        """From now on a stroke of this kind has an effect."""
        self.excuses.append(Excuse(kind, time.monotonic(), model=model))
        return self.excuses[-1]

    def revise(self, excuse: Excuse, **known: Any) -> None:
        """More is known of an effect now."""
        self.excuses[self.excuses.index(excuse)] = replace(excuse, **known)

    @property
    def excused(self) -> bool:
        """Whether a gateway may end now."""
        now_s = time.monotonic()
        return any(each.breaks and each.from_s <= now_s <= each.until_s for each in self.excuses)

    @property
    def gateways_ended(self) -> bool:
        """Whether a gateway may have ended at any time."""
        return any(each.breaks for each in self.excuses)
