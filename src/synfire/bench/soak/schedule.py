"""What happens in a soak, as frozen data drawn from a seed: what is served, who calls, what fails and when."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from synfire.bench.soak.arrangement import Arrangement, able, random_arrangement
from synfire.bench.soak.strokes import KNOWN, Kind, Stroke

CALLERS = {
    "plain": 4,
    "stream": 2,
    "session": 3,
    "batch": 2,
    "json": 1,
    "hasty": 1,
    "leaving": 2,
    "faulty": 1,
    "grpc": 2,
    "grpc_stream": 1,
}
"""The kinds of callers, and the most of each at a time."""

LOAD_S = (3.0, 12.0)
"""How long a load lasts: short enough that a minute sees many, long enough for thousands of requests."""

PAUSES_S = (0.0, 0.01, 0.05, 0.2)
"""The longest pause between two requests of a caller: from a closed loop, which keeps the machine busy, to hardly anything."""

STROKE_S = 5.0
"""The mean time between two faults. A worker that is started anew takes about as long, so some hit a recovery under way."""

WARM_S = 5.0
"""Nothing fails so soon: what is served first shows that it answers when it is well."""

EARLY = 0.5
"""The controller and the gateways are killed in this share of the time, the first: what lives in the rest of it grows old enough
to show whether it grows."""

LATE = 0.7
"""What takes something away for good comes after this share of the time."""

REST_S = 60.0
"""The time between two rests, in which nobody calls and nothing fails: what is held then is held for nobody."""

CALM_S = 4.0
"""For so long before a rest nothing fails."""


@dataclass(frozen=True)
class Load:
    """From `at_s` on so many callers of each kind ask, each with a pause of up to `pause_s` between its requests."""

    at_s: float
    callers: tuple[tuple[str, int], ...]
    pause_s: float

    def __str__(self) -> str:
        who = ", ".join(f"{count} {kind}" for kind, count in self.callers if count)
        return f"callers: {who or 'nobody'}, pauses up to {self.pause_s:g} s"


@dataclass(frozen=True)
class Pause:
    """At `at_s` everybody leaves, until the deployment has come to rest; then they call again."""

    at_s: float

    def __str__(self) -> str:
        return "rest"


Act = Load | Stroke | Pause


@dataclass(frozen=True)
class Schedule:
    """One soak of `seconds`, and the time that its rests take besides; the same for the same seed, models and kinds.

    The acts stand in the order of their times.
    """

    seed: int
    seconds: float
    arrangement: Arrangement
    acts: tuple[Act, ...]

    def __str__(self) -> str:
        return "\n".join([str(self.arrangement), *(f"{each.at_s:7.2f} s  {each}" for each in self.acts)])


def random_schedule(seed: int, seconds: float, models: Sequence[str], kinds: Sequence[str]) -> Schedule:
    """The schedule of a seed. What is drawn for loads does not depend on which `kinds` of strokes there are.

    Kinds that need emulated hosts, or chips, or too little room, come where these are, which is so in a part of the schedules that
    have such kinds.
    """
    arrangement = random_arrangement(seed, models, kinds)
    pauses = tuple(_pauses(seconds))
    loads = _loads(random.Random(f"{seed}-loads"), seconds)
    strokes = _strokes(random.Random(f"{seed}-strokes"), seconds, able(arrangement, kinds), pauses)
    acts: list[Act] = [*pauses, *loads, *strokes]
    acts.sort(key=lambda act: act.at_s)
    return Schedule(seed, seconds, arrangement, tuple(acts))


def _pauses(seconds: float) -> Iterator[Pause]:
    """One after the first answers, to compare with; one at the end; the others in between."""
    yield Pause(WARM_S)
    count = round((seconds - WARM_S) / REST_S)
    yield from (Pause(WARM_S + (seconds - WARM_S) * number / count) for number in range(1, count))
    yield Pause(seconds)


def _loads(rng: random.Random, seconds: float) -> Iterator[Load]:
    """All kinds first, a few of each; then whatever comes."""
    yield Load(0.0, tuple((kind, 1) for kind in CALLERS), 0.05)
    at_s = WARM_S
    while at_s < seconds:
        scale = rng.choice((0.3, 1.0, 1.0))
        callers = tuple((kind, round(rng.uniform(0, scale) * most)) for kind, most in CALLERS.items())
        yield Load(at_s, callers if any(count for _, count in callers) else (("plain", 1),), rng.choice(PAUSES_S))
        at_s += rng.uniform(*LOAD_S)


def _strokes(rng: random.Random, seconds: float, kinds: Sequence[str], pauses: Sequence[Pause]) -> Iterator[Stroke]:
    """Every kind comes once before any comes often: they are dealt like cards, some kinds with several of them."""
    deck: list[str] = []
    at_s = WARM_S
    while (at_s := at_s + rng.expovariate(1 / STROKE_S)) < seconds:
        now = [kind for kind in kinds if _comes(KNOWN[kind], at_s / seconds)]
        deck = [kind for kind in deck if kind in now]
        if not deck:
            deck = [kind for kind in now for _ in range(KNOWN[kind].weight)]
            rng.shuffle(deck)
        if not deck:
            continue
        stroke = KNOWN[deck[-1]].draw(rng, at_s)
        if all(stroke.at_s > each.at_s or stroke.until_s < each.at_s - CALM_S for each in pauses):
            deck.pop()
            yield stroke


def _comes(kind: Kind, share: float) -> bool:
    """Whether a kind comes at all when this share of the time is over."""
    return share >= LATE if kind.late else share < EARLY or not kind.early
