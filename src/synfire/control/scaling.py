"""How many replicas a model is to have: from the calls that it works on or that wait. Pure.

By Little's law the calls that are there at a time are the rate of calls by the time that each takes, so they grow with either; no model
has to say how fast it is. More replicas come at once, fewer only when the busiest moment of a while has passed, and the last one goes to
sleep when nobody has called for longer. So may single stages, while the others of their model stay.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from synfire.plan.plan import Stage
from synfire.wire.wish import Scale

WINDOW_S = 30.0
"""Replicas are taken away only when the busiest moment of so long a time would have done with fewer: loads come in waves."""

SMOOTH_S = 1.0
"""Over how long calls are averaged before more replicas are begun: a burst of a few milliseconds is no load."""

BUSY, EASY = 0.7, 0.5
"""A stage gets another replica where each of those that it has would be busy for a larger share of its time than the first, and does with
fewer where none of these would be busy for more than the second."""


@dataclass(frozen=True)
class Load:
    """What is known of one model's calls: the average of late, the peaks of that, each with its time, and when somebody called last."""

    average: float = 0.0
    peaks: tuple[tuple[float, float], ...] = ()
    seen_s: float = -math.inf
    called_s: float = -math.inf


def noted(load: Load, calls: float, now_s: float) -> Load:
    """The load with what is there now. Peaks that later ones exceed say nothing any more."""
    gone_s = now_s - load.seen_s
    share = 1.0 if math.isinf(gone_s) else 1 - math.exp(-gone_s / SMOOTH_S)
    average = load.average + share * (calls - load.average)
    peaks = [(at_s, peak) for at_s, peak in load.peaks if now_s - at_s <= WINDOW_S and peak > average]
    return replace(
        load,
        average=average,
        peaks=(*peaks, (now_s, average)),
        seen_s=now_s,
        called_s=now_s if calls or math.isinf(load.called_s) else load.called_s,
    )


def replicas_for(load: Load, scale: Scale, present: int, waiting: int, now_s: float) -> int:
    """How many there are to be, where `present` are; `waiting` calls are there now. 0 where all are to sleep."""
    if not present:
        return max(scale.least, 1 if waiting else 0)
    up, down = (math.ceil(round(each / scale.calls, 3)) for each in (load.average, max(p for _, p in load.peaks)))
    wanted = max(up, min(present, down))
    if not waiting and now_s - load.called_s >= scale.idle_s:
        return min(scale.least, scale.most)
    return min(max(wanted, scale.least, 1), scale.most)


def stage_replicas_for(work: Load, requests: Load, present: int) -> int:
    """How many replicas a stage is to have, where `present` are or come. Its `work` is counted in workers: for what share of the time that other stages
    leave it each of its workers was busy with it. More replicas than there are `requests` at it would have nothing to do."""
    up = math.ceil(round(work.average / BUSY, 3))
    down = math.ceil(round(max(peak for _, peak in work.peaks) / EASY, 3))
    useful = math.ceil(round(requests.average, 2))
    return max(min(up, useful), min(present, down), 1)


def resting_for(stages: Iterable[Stage], called_s: float, waiting: int, now_s: float) -> frozenset[str]:
    """Which of a model's stages that may sleep are to do so, where `waiting` calls are there now, and somebody called last at `called_s`."""
    quiet_s = now_s - called_s
    return frozenset(each.name for each in stages if not waiting and quiet_s >= each.idle_s)


def begun(peak: float, now_s: float) -> Load:
    """What is known of what nobody has looked at before: the replicas that it has may have had enough to do, which is `peak`."""
    return Load(peaks=((now_s, peak),))


def work_of(own: float, others: float) -> float:
    """For what share of the time a worker was busy with a stage, of the time that its `others` left; all are shares of a second."""
    return min(1.0, own / max(0.05, 1 - min(others, 1.0)))
