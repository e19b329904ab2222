"""What happens in a soak, as frozen data drawn from a seed: what is served, who calls, what fails and when."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from synfire.bench.soak.strokes import KNOWN, Stroke

CALLERS = {"plain": 4, "stream": 2, "session": 3, "batch": 2, "json": 1, "hasty": 1, "leaving": 2, "faulty": 1}
"""The kinds of callers, and the most of each at a time."""

GATEWAYS = (1, 2)
HOSTS = (0, 0, 2, 3)
"""How many gateways there may be, and emulated hosts, where there can be some."""

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

REST_S = 60.0
"""The time between two rests, in which nobody calls and nothing fails: what is held then is held for nobody."""

CALM_S = 4.0
"""For so long before a rest nothing fails."""


@dataclass(frozen=True)
class Arrangement:
    """How the models are served: `synfire serve` with these options."""

    models: tuple[str, ...]
    workers: int
    spares: int
    gateways: int = 1
    granularity: str = "auto"
    apart: bool = False
    hosts: int = 0

    @property
    def arguments(self) -> tuple[str, ...]:
        """What follows `synfire serve`."""
        numbers = {"workers": self.workers, "spares": self.spares, "gateways": self.gateways, "hosts": self.hosts}
        options = [word for name, number in numbers.items() for word in (f"--{name}", str(number))]
        return (*self.models, *options, "--granularity", self.granularity, *(["--apart"] if self.apart else []))

    @property
    def crew(self) -> Mapping[str, tuple[int, int]]:
        """How many processes of each role there are at rest. Where spares run out a worker takes over, and one fewer is left."""
        workers = (1 + self.spares, self.workers + self.spares)
        return {"serve": (1, 1), "controller": (1, 1), "gateway": (self.gateways,) * 2, "worker": workers}

    def __str__(self) -> str:
        return f"synfire serve {' '.join(self.arguments)}"


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

    Kinds that hit emulated hosts come where there are some, which is so in a part of the schedules that have such kinds.
    """
    on_hosts = {kind for kind in kinds if KNOWN[kind].aim == "host"}
    arrangement = _arrangement(random.Random(f"{seed}-arrangement"), models, bool(on_hosts))
    able = sorted(set(kinds) - (set() if arrangement.hosts else on_hosts))
    pauses = tuple(_pauses(seconds))
    loads = _loads(random.Random(f"{seed}-loads"), seconds)
    strokes = _strokes(random.Random(f"{seed}-strokes"), seconds, able, pauses)
    acts: list[Act] = [*pauses, *loads, *strokes]
    acts.sort(key=lambda act: act.at_s)
    return Schedule(seed, seconds, arrangement, tuple(acts))


def _pauses(seconds: float) -> Iterator[Pause]:
    """One after the first answers, to compare with; one at the end; the others in between."""
    yield Pause(WARM_S)
    count = round((seconds - WARM_S) / REST_S)
    yield from (Pause(WARM_S + (seconds - WARM_S) * number / count) for number in range(1, count))
    yield Pause(seconds)


def _arrangement(rng: random.Random, models: Sequence[str], hosts: bool) -> Arrangement:
    return Arrangement(
        tuple(models),
        workers=rng.randint(2, 3),
        spares=rng.randint(1, 2),
        gateways=rng.choice(GATEWAYS),
        granularity=rng.choice(("operator", "block", "auto")),
        apart=rng.random() < 0.3,
        hosts=rng.choice(HOSTS) if hosts else 0,
    )


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
        able = [kind for kind in kinds if at_s < seconds * EARLY or not KNOWN[kind].early]
        deck = [kind for kind in deck if kind in able]
        if not deck:
            deck = [kind for kind in able for _ in range(KNOWN[kind].weight)]
            rng.shuffle(deck)
        if not deck:
            return
        stroke = KNOWN[deck[-1]].draw(rng, at_s)
        if all(stroke.at_s > each.at_s or stroke.until_s < each.at_s - CALM_S for each in pauses):
            deck.pop()
            yield stroke
