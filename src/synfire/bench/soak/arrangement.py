"""How the models are served in a soak: what is drawn of the options of `synfire serve`."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from synfire.bench.soak.strokes import KNOWN, Need
from synfire.graph import flatten
from synfire.graph.passes import simplify
from synfire.plan import Demand
from synfire.plan.costs import assumed, memory_bytes
from synfire.zoo import find

GATEWAYS = (1, 2)
HOSTS = (0, 0, 2, 3)
"""How many gateways there may be, and emulated hosts, where there can be some."""

CHIPS = "darwin3"
"""The device that is served on where chips are to break."""

SPARE_ROOM = 1.3
"""Where there is to be too little room: what all workers together may hold, of what the models need. It is enough for plans of
any granularity, and too little for all models as soon as one worker less is there than the plans name, and no spare."""

PRIORITIES = (0, 0, 1, 2, 5)


@dataclass(frozen=True)
class Arrangement:
    """`synfire serve` with these options. `priorities` are of models by name; others have 0."""

    models: tuple[str, ...]
    workers: int
    spares: int
    gateways: int = 1
    granularity: str = "auto"
    apart: bool = False
    hosts: int = 0
    device: str = ""
    memory_bytes: int | None = None
    priorities: tuple[tuple[str, int], ...] = ()

    @property
    def arguments(self) -> tuple[str, ...]:
        """What follows `synfire serve`."""
        numbers = {"workers": self.workers, "spares": self.spares, "gateways": self.gateways, "hosts": self.hosts}
        options = [word for name, number in numbers.items() for word in (f"--{name}", str(number))]
        options += ["--granularity", self.granularity, *(["--apart"] if self.apart else [])]
        options += ["--device", self.device] if self.device else []
        options += ["--memory", str(self.memory_bytes), "--most-workers", str(self.most_workers)] if self.scarce else []
        return (
            *self.models,
            *options,
            *(word for name, n in self.priorities for word in ("--priority", f"{name}={n}")),
        )

    @property
    def scarce(self) -> bool:
        """Whether workers have too little room for all models when some of them are gone."""
        return self.memory_bytes is not None

    @property
    def most_workers(self) -> int:
        """How many workers may run at a time where room is scarce: one more than at first, without which none could be upgraded."""
        return self.workers + self.spares + 1

    @property
    def crew(self) -> Mapping[str, tuple[int, int]]:
        """How many processes of each role there are at rest. Where spares run out a worker takes over, and one fewer is left. One
        whose chip has died lives on with what it runs on the processor, beside the spare that has the rest: one more is there."""
        serving = 2 * self.workers if self.device else self.workers
        workers = (1 + self.spares, serving + self.spares)
        alone = dict.fromkeys(("serve", "template", "controller"), (1, 1))
        return {**alone, "gateway": (self.gateways,) * 2, "worker": workers}

    def __str__(self) -> str:
        return f"synfire serve {' '.join(self.arguments)}"


def random_arrangement(seed: int, models: Sequence[str], kinds: Collection[str]) -> Arrangement:
    """How the models of a seed are served, so that some of these `kinds` of strokes can be done to them."""
    rng = random.Random(f"{seed}-arrangement")
    needed = {KNOWN[kind].needs for kind in kinds}
    workers, spares, gateways = rng.randint(2, 3), rng.randint(1, 2), rng.choice(GATEWAYS)
    granularity, apart = rng.choice(("operator", "block", "auto")), rng.random() < 0.3
    hosts = rng.choice(HOSTS) if "hosts" in needed else 0
    setting = _setting(rng, models, needed)
    scarce = setting == "scarcity"
    return Arrangement(
        tuple(models),
        workers,
        spares,
        gateways,
        granularity,
        apart,
        hosts,
        device=CHIPS if setting == "chips" else "",
        memory_bytes=_little_room(models, workers) if scarce else None,
        priorities=tuple((name, rng.choice(PRIORITIES)) for name in models) if scarce else (),
    )


def able(arrangement: Arrangement, kinds: Collection[str]) -> list[str]:
    """The kinds that can be done to a deployment that is arranged so, in alphabetical order."""
    has: dict[Need, bool] = {
        "": True,
        "hosts": arrangement.hosts > 0,
        "chips": arrangement.device == CHIPS,
        "scarcity": arrangement.scarce,
    }
    return sorted(kind for kind in kinds if has[KNOWN[kind].needs])


def _setting(rng: random.Random, models: Sequence[str], needed: Collection[Need]) -> Need:
    """Chips, too little room, or neither: each as often as the others, of those that the kinds have a use for."""
    found: list[Need] = ["chips"] if "chips" in needed else []
    found += ["scarcity"] if "scarcity" in needed and len(models) > 1 else []
    found += [""] if not found or {"", "hosts"} & {*needed} else []
    return rng.choice(found)


def _little_room(models: Sequence[str], workers: int) -> int:
    """What each worker may hold: each of the models alone, and all models on all workers with little to spare."""
    graphs = [simplify(flatten(find(model).graph)) for model in models]
    sizes = [memory_bytes(graph, graph.order(), Demand("", graph, assumed(graph)).requests) for graph in graphs]
    return max(*sizes, round(SPARE_ROOM * sum(sizes) / workers))
