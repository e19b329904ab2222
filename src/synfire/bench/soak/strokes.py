"""What may fail in a soak, or is changed on purpose: which commands do it, whom it hits, and what it excuses."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from synfire.deploy.faults import FAULTS
from synfire.plan.plan import GATEWAY

Aim = Literal["", "worker", "workers", "most", "link", "gateway", "host", "blob", "model", "chip"]
"""Whom a kind hits: nobody by name, a worker, several, all but one or two, the link from a worker to another, a gateway, an emulated
host, a blob, a model, an emulated chip or, where that will do, a processor. What of it is hit, and of which, `synfire fault` draws by
its seed."""

Need = Literal["", "hosts", "chips", "scarcity"]
"""What a deployment must have for a kind: nothing, emulated hosts, emulated chips, or too little room for all when workers go."""

MOVED_WITHIN_S = 120.0
"""How long a planned move may take on a busy machine, with faults that come in between."""

RELOAD = "reload"
"""A model is unloaded, and loaded again after a while; by the controller's door, as there is no verb for it."""

SHORTAGE = "shortage"
"""Workers are killed, and for a while whatever is started in their place is killed too, as by the kernel when memory runs out: a
soak does that, no verb."""

SERVE_KILL = "serve-kill"
"""SIGKILL to `synfire serve` itself, of which everything else is a child: a soak does that, no verb."""


@dataclass(frozen=True)
class Stroke:
    """At `at_s` something fails, or is changed on purpose. `target` picks whom it hits among those who are there then.

    `for_s` and `share` are as `synfire fault` takes them; None leaves them to it.
    """

    at_s: float
    kind: str
    target: int = 0
    for_s: float | None = None
    share: float | None = None

    @property
    def until_s(self) -> float:
        """When it is over, as far as the schedule knows."""
        return self.at_s + (self.for_s or 0.0)

    def __str__(self) -> str:
        how = [f"for {self.for_s:.2f} s"] if self.for_s is not None else []
        return " ".join([self.kind, *how, *([f"running {self.share:.2f} of it"] if self.share is not None else [])])


@dataclass(frozen=True)
class Sight:
    """Who is there to be hit, each in alphabetical order."""

    workers: Sequence[str] = ()
    gateways: Sequence[str] = ()
    hosts: Sequence[str] = ()
    blobs: Sequence[str] = ()
    models: Sequence[str] = ()

    def of(self, aim: Aim) -> Sequence[str]:
        """Those that a kind with this aim can hit."""
        links = [f"{one}:{other}" for one in self.workers for other in (*self.workers, GATEWAY) if one != other]
        found: dict[Aim, Sequence[str]] = {
            "link": links,
            "gateway": self.gateways,
            "host": self.hosts,
            "blob": self.blobs,
            "model": self.models,
        }
        return found.get(aim, self.workers)


@dataclass(frozen=True)
class Kind:
    """A kind of stroke: a fault of `synfire fault`, or a `move`, which is a verb of its own; and how often it comes among the others.

    It lasts for a time out of `for_s`; one that is `lasting` goes on for good in every second case. One that is `undone` is
    done a second time after that, which takes it back. What `breaks` gateways is an excuse for broken connections, and
    for the sessions that lived in them. What is `lethal` to workers leaves a record of a recovery. What is `early` comes
    in the first part of a soak only, what is `late` in the last: there is no more of what it takes away. What `corrupts` a
    chip makes answers wrong, for a time. `fault` is what `synfire fault` calls it, with `options`, where that is another name.
    """

    name: str
    aim: Aim = ""
    weight: int = 1
    for_s: tuple[float, float] | None = None
    share: tuple[float, float] | None = None
    lasting: bool = False
    undone: bool = False
    breaks: bool = False
    lethal: bool = False
    early: bool = False
    late: bool = False
    corrupts: bool = False
    move: bool = False
    needs: Need = ""
    fault: str = ""
    options: tuple[str, ...] = ()

    def draw(self, rng: random.Random, at_s: float) -> Stroke:
        """One of this kind."""
        lasts = self.for_s is not None and not (self.lasting and rng.random() < 0.5)
        return Stroke(
            at_s,
            self.name,
            rng.randrange(2**16),
            rng.uniform(*self.for_s) if lasts and self.for_s else None,
            rng.uniform(*self.share) if self.share else None,
        )

    def target(self, stroke: Stroke, sight: Sight) -> str | None:
        """Whom the stroke hits; None where nobody is there who could be."""
        if self.aim in ("", "chip"):
            return ""
        there = sight.of(self.aim)
        if not there:
            return None
        if self.aim == "workers":
            count = 1 + stroke.target // 7 % len(there)
            return ",".join(random.Random(stroke.target).sample(list(there), count))
        if self.aim == "most":
            count = max(1, len(there) - 1 - stroke.target // 7 % 2)
            return ",".join(random.Random(stroke.target).sample(list(there), count))
        return there[stroke.target % len(there)]

    def command(self, stroke: Stroke, target: str) -> tuple[str, ...]:
        """What follows `synfire` to do it; the same again takes back what is `undone`."""
        if self.move:
            return (self.name, *([target] if target else []), "--timeout-s", f"{MOVED_WITHIN_S:g}")
        lasts = stroke.for_s is not None and not self.undone
        options = ["--for", f"{stroke.for_s:.3f}"] if lasts else []
        options += ["--share", f"{stroke.share:.3f}"] if stroke.share is not None else []
        options += ["--seed", str(stroke.target)] if self.aim == "chip" else []
        return ("fault", self.fault or self.name, *([target] if target else []), *self.options, *options)


KNOWN = {
    each.name: each
    for each in (
        Kind("worker-kill", "worker", weight=4, lethal=True),
        Kind("worker-stop", "worker", weight=2, for_s=(0.02, 1.5), lasting=True),
        Kind("worker-slow", "worker", for_s=(0.5, 4.0), share=(0.1, 0.6)),
        Kind("host-lost", "workers", lethal=True),
        Kind("link-drop", "link", for_s=(0.05, 1.5)),
        Kind("link-delay", "link", for_s=(0.5, 4.0)),
        Kind("link-partition", "host", weight=2, for_s=(0.1, 4.0), needs="hosts"),
        Kind("controller-kill", weight=2, early=True),
        Kind("gateway-kill", "gateway", breaks=True, early=True),
        Kind(SERVE_KILL, breaks=True, early=True),
        Kind(RELOAD, "model", weight=2, for_s=(0.1, 3.0)),
        Kind("drain", "worker", move=True),
        Kind("rebalance", move=True),
        Kind("upgrade", move=True),
        Kind("blob-corrupt", "blob", for_s=(0.5, 3.0), undone=True),
        Kind("disk-full", for_s=(0.5, 3.0)),
        Kind("core-dead", "chip", weight=3, lethal=True, needs="chips"),
        Kind("mesh-link-dead", "chip", weight=2, lethal=True, needs="chips"),
        Kind("chip-dead", "chip", weight=2, late=True, lethal=True, needs="chips"),
        Kind("bit-flip", "chip", weight=2, corrupts=True, needs="chips", fault="weight-bit"),
        Kind("bit-stuck", "chip", weight=2, corrupts=True, needs="chips", fault="weight-bit", options=("--stuck",)),
        Kind("membrane-bit", "chip", weight=3),
        Kind(SHORTAGE, "most", weight=4, for_s=(2.0, 6.0), needs="scarcity", fault="host-lost"),
    )
}
"""The kinds that a soak knows what to expect of, by name."""


def possible(own_disk: bool) -> tuple[str, ...]:
    """The kinds that can be done to a deployment that has a disk of its own, or not: a machine without has no hosts either."""
    lacking = () if own_disk else ("disk-full", "link-partition")
    return tuple(
        name
        for name, kind in KNOWN.items()
        if (kind.move or name in (SERVE_KILL, RELOAD) or (kind.fault or name) in FAULTS) and name not in lacking
    )
