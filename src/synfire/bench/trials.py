"""Failures that were caused, and what clients saw of each: the rows of the recovery benchmark."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from synfire.bench.witness import LOST, WRONG, Seen
from synfire.ops import Array
from synfire.wire.recovery import STEPS, RecoveryRecord

ALL = "all"
"""Stands for every family: an outage is then the longest that any client saw."""

LATE_S = 1.0
"""An answer that took longer is late: beyond what most clients wait for without a sign."""

CONFIDENCE = 0.95
RESAMPLES = 2000


@dataclass(frozen=True)
class Trial:
    """One failure: when it was caused, on the monotonic clock and in seconds since 1970, and what was done about it.

    `warm_s` is how long it took until the deployment was protected again.
    """

    at_s: float
    at_1970_s: float
    target: str
    record: RecoveryRecord
    warm_s: float

    @property
    def over_s(self) -> float:
        """When the last step of the recovery ended, on the monotonic clock."""
        return self.at_s + max(0.0, self.record.began_s + self.record.duration_s - self.at_1970_s)

    def outage_s(self, seen: Seen) -> float:
        """The longest time from sending to answer among the requests that overlap the failure and its recovery."""
        sent, ended = seen.sent_s, seen.ended_s
        last = int(np.searchsorted(sent, self.over_s, "right"))
        overlap = slice(int(np.searchsorted(ended, self.at_s, "left")), last)
        return float((ended[overlap] - sent[overlap]).max(initial=0.0))


@dataclass(frozen=True)
class Found:
    """All failures of an arm, what each model's client saw, and how many of its calls were replayed.

    `unprovoked` counts the losses that nobody caused; their waits are among the quiet times.
    """

    trials: tuple[Trial, ...]
    seen: Mapping[str, Seen]
    replays: Mapping[str, int]
    unprovoked: int = 0

    def rows(self, arm: str) -> list[dict[str, Any]]:
        """A row for all families together, and one for each."""
        each = {model: [trial.outage_s(seen) for trial in self.trials] for model, seen in self.seen.items()}
        longest = [max(outages) for outages in zip(*each.values(), strict=True)]
        rows = [self._row(arm, ALL, tuple(self.seen), longest)]
        return rows + [self._row(arm, model.partition("-")[0], (model,), outages) for model, outages in each.items()]

    def _row(self, arm: str, family: str, models: Sequence[str], outages_s: list[float]) -> dict[str, Any]:
        seen = [self.seen[model] for model in models]
        hit = [trial for trial in self.trials if {each.model for each in trial.record.models} & set(models)]
        return {
            "arm": arm,
            "family": family,
            "trials": len(outages_s),
            **_counts(seen),
            "replays": sum(self.replays[model] for model in models),
            "unprovoked": self.unprovoked,
            **_outages(outages_s),
            **_undisturbed(self.trials, seen),
            **_steps(hit),
            "warm_again_s": _median(trial.warm_s for trial in self.trials),
            "outages_s": outages_s,
        }


def _counts(seen: Sequence[Seen]) -> dict[str, int]:
    verdicts = np.concatenate([each.verdict for each in seen])
    late = sum(int((each.ended_s - each.sent_s > LATE_S).sum()) for each in seen)
    return {
        "requests": len(verdicts),
        "lost": int((verdicts == LOST).sum()),
        "wrong": int((verdicts == WRONG).sum()),
        "duplicated": sum(each.duplicated for each in seen),
        "late": late,
    }


def _outages(outages_s: Sequence[float]) -> dict[str, float]:
    """p50, p99 and the longest. There is no interval of the longest: resampling cannot tell what was never seen."""
    found: dict[str, float] = {}
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        low, high = bootstrap(outages_s, share)
        found |= {
            f"outage_{name}_s": quantile(outages_s, share),
            f"outage_{name}_low_s": low,
            f"outage_{name}_high_s": high,
        }
    return {**found, "outage_max_s": max(outages_s)}


def _undisturbed(trials: Iterable[Trial], seen: Sequence[Seen]) -> dict[str, float]:
    """What a request takes while nothing is being recovered; new spares may be getting ready, which costs time too."""
    spans = [(trial.at_s, trial.over_s) for trial in trials]
    quiet: list[Array] = []
    for each in seen:
        sent, ended = each.sent_s, each.ended_s
        clear = np.ones(len(sent), bool)
        for start_s, end_s in spans:
            clear[np.searchsorted(ended, start_s, "left") : np.searchsorted(sent, end_s, "right")] = False
        quiet.append((ended - sent)[clear])
    times = np.concatenate(quiet)
    p50_s, p99_s = np.quantile(times, [0.5, 0.99]) if len(times) else (0.0, 0.0)
    return {"quiet_p50_s": float(p50_s), "quiet_p99_s": float(p99_s)}


def _steps(trials: Sequence[Trial]) -> dict[str, float]:
    """Median and p99 of each recovery step and of the time until the failure was noticed at all, and when steps begin."""
    times: dict[str, list[float]] = {"notice": [max(0.0, t.record.began_s - t.at_1970_s) for t in trials]}
    for name in STEPS:
        times[name] = [step.duration_s for trial in trials for step in trial.record.steps if step.name == name]
    times["recovery"] = [trial.record.duration_s for trial in trials]
    known = {name: each for name, each in times.items() if each}
    begun = {
        name: [step.began_s - trial.at_1970_s for trial in trials for step in trial.record.steps if step.name == name]
        for name in STEPS
    }
    return {
        **{f"{name}_begin_s": quantile(each, 0.5) for name, each in begun.items() if each},
        **{f"{name}_s": quantile(each, 0.5) for name, each in known.items()},
        **{f"{name}_p99_s": quantile(each, 0.99) for name, each in known.items()},
    }


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that at least that share of them do not exceed: never less than was seen."""
    return float(np.quantile(values, share, method="higher"))


def bootstrap(values: Sequence[float], share: float) -> tuple[float, float]:
    """The percentile interval of a quantile, from seeded resamples; DOI 10.1201/9780429246593, chapter 13."""
    resampled = np.random.default_rng(0).choice(np.asarray(values), (RESAMPLES, len(values)))
    quantiles = np.quantile(resampled, share, axis=1, method="higher")
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(quantiles, [tail, 1 - tail])
    return float(low), float(high)


def _median(values: Iterable[float]) -> float:
    return quantile(list(values), 0.5)
