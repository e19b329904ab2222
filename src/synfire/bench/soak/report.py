"""What a soak saw, for people and as data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from synfire.bench.soak.recoveries import durations
from synfire.bench.trials import quantile
from synfire.plan.costs import format_bytes, format_seconds

if TYPE_CHECKING:
    from synfire.bench.soak.run import Soak


def summary(soak: Soak) -> dict[str, Any]:
    """Requests by kind with their waits, what came of them, strokes, recoveries, memory by role. Times are in seconds."""
    ledger = soak.ledger
    return {
        "seed": soak.schedule.seed,
        "seconds": ledger.now_s,
        "served": list(soak.schedule.arrangement.arguments),
        "requests": {
            kind: {"count": count, **_waits(ledger.waits_s[kind])} for kind, count in sorted(ledger.requests.items())
        },
        "answers": dict(sorted(ledger.classes.items())),
        "faults": dict(sorted(ledger.strokes.items())),
        "recoveries": durations(soak.records),
        "memory": {
            role: {"most_bytes": most, "grown_bytes": soak.memory.grown_bytes().get(role, 0)}
            for role, most in sorted(soak.memory.most_bytes.items())
        },
    }


def told(found: dict[str, Any]) -> Iterator[str]:
    """The summary in lines."""
    requests = found["requests"]
    yield f"{sum(each['count'] for each in requests.values())} requests in {found['seconds']:.0f} s, seed {found['seed']}"
    for kind, each in requests.items():
        yield f"  {kind}: {each['count']}{_times(each)}"
    yield from ("", "what came of them", *(f"  {name}: {count}" for name, count in found["answers"].items()))
    yield from ("", "faults", *(f"  {kind}: {count}" for kind, count in found["faults"].items()))
    yield from ("", "recoveries on record, by cause")
    yield from (f"  {cause}: {each['count']}{_times(each)}" for cause, each in found["recoveries"].items())
    yield from ("", "memory of a process, at the most, and its growth at rest")
    for role, each in found["memory"].items():
        yield f"  {role}: {format_bytes(each['most_bytes'])}, grown by {format_bytes(each['grown_bytes'])}"


def progress(soak: Soak) -> str:
    """How far it is, in a line."""
    ledger = soak.ledger
    requests, right = sum(ledger.requests.values()), ledger.classes["right"]
    return (
        f"{ledger.now_s:.0f} of {soak.schedule.seconds:.0f} s: {requests} requests, {right} answered right, {requests - right} otherwise "
        f"as they should be; {sum(ledger.strokes.values())} faults"
    )


def _waits(seconds: list[float]) -> dict[str, float]:
    if not seconds:
        return {}
    return {"p50_s": quantile(seconds, 0.5), "p99_s": quantile(seconds, 0.99), "max_s": max(seconds)}


def _times(each: dict[str, Any]) -> str:
    if "p50_s" not in each:
        return ""
    return ", " + ", ".join(f"{name} {format_seconds(each[f'{name}_s'])}" for name in ("p50", "p99", "max"))
