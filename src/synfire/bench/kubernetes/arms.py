"""The arms on a cluster: what is done to synfire's Pods, and the same to what plain Kubernetes keeps up."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from synfire.bench.benchmark import Progress
from synfire.bench.kubernetes import deployment, plain
from synfire.bench.kubernetes.deployment import NAME, SPARES, Deployment
from synfire.bench.kubernetes.ground import Ground, until
from synfire.bench.kubernetes.subject import QUIET_S, Aimed, Pace, Subject, under_load
from synfire.bench.kubernetes.trials import rows
from synfire.bench.trials import quantile

KILLS, CUTS, SCALED, ROLLOUTS = 32, 10, 10, 3
PLAIN_KILLS, PLAIN_CUTS, PLAIN_ROLLOUTS = 10, 3, 3
ROLLOUT_QUIET_S = 20.0
"""The quiet before a rollout: as many requests as a p99 takes."""

EXTRA = f"{NAME}-spares-{SPARES}"
"""The Pod that a pool of spares has when it is one larger."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """How arms are run: the seed decides which Pods and nodes are lost, and a quick one does everything once or twice."""

    seed: int
    quick: bool
    progress: Progress

    def times(self, count: int) -> int:
        return min(count, 2) if self.quick else count


def pods(subject: Deployment, run: Run) -> list[Row]:
    """A Pod that hosts stages is lost."""
    rng = _rng(run, "pods")
    return _struck("pods", subject, run, rng, [lambda: subject.killed(rng)] * run.times(KILLS))


def nodes(subject: Deployment, run: Run) -> list[Row]:
    """A node with such a Pod is cut off."""
    rng = _rng(run, "nodes")
    return _struck("nodes", subject, run, rng, [lambda: subject.cut(rng)] * run.times(CUTS))


def upgrade(subject: Deployment, run: Run) -> list[Row]:
    """All worker Pods are begun anew, one after the other."""
    aims = [subject.rolled] * (1 if run.quick else ROLLOUTS)
    return _struck("upgrade", subject, run, _rng(run, "upgrade"), aims, quiet_s=ROLLOUT_QUIET_S)


def spares(subject: Deployment, run: Run) -> list[Row]:
    """A further spare Pod is asked for, without callers; the first one, which finds nothing in the memory of its node, does not count."""
    found: list[tuple[float, float]] = []
    for number in range(-1, run.times(SCALED)):
        run.progress(f"spare {number + 1}")
        subject.until_whole()
        taken = _scaled_up(subject)
        if number >= 0:
            found.append(taken)
        _scale(subject, SPARES)
        until(lambda: not subject.ground.kubectl("get", "pod", EXTRA, "--ignore-not-found"), f"the end of {EXTRA}", 0.2)
    told, ready = ([each[i] for each in found] for i in (0, 1))
    return [
        {
            "arm": "spares",
            "fault": "one more",
            "trials": len(found),
            "told_p50_s": quantile(told, 0.5),
            "ready_p50_s": quantile(ready, 0.5),
            "ready_max_s": max(ready),
            "told_s": told,
            "ready_s": ready,
        }
    ]


def by_kubernetes(subject: plain.Plain, run: Run) -> list[Row]:
    """The same faults to a Deployment of two replicas: kinds one after the other. Machines of the user's are not taken away."""
    rng, ours = _rng(run, "plain"), subject.ground.cluster is not None
    aims: list[Callable[[], Aimed]] = [lambda: subject.killed(rng)] * run.times(PLAIN_KILLS)
    aims += [lambda: subject.cut(rng)] * ((1 if run.quick else PLAIN_CUTS) if ours else 0)
    aims += [subject.rolled] * (1 if run.quick else PLAIN_ROLLOUTS)
    found = _struck("plain", subject, run, rng, aims)
    return found[1:]  # unlike faults together say nothing


OF_SYNFIRE: Mapping[str, Callable[[Deployment, Run], list[Row]]] = {
    "pods": pods,
    "nodes": nodes,
    "upgrade": upgrade,
    "spares": spares,
}
PLAIN = "plain"
PARTS = (*OF_SYNFIRE, PLAIN)

MACHINES = ("nodes",)
"""Parts that take machines away, which are none of the user's."""


def measured(ground: Ground, parts: Collection[str], run: Run) -> list[Row]:
    """The rows of these parts; synfire and what it is beside are never there at the same time."""
    found: list[Row] = []
    if own := [each for each in OF_SYNFIRE if each in parts]:
        run.progress("synfire is begun")
        with deployment.deployed(ground) as subject:
            for each in own:
                found += OF_SYNFIRE[each](subject, run)
    if PLAIN in parts:
        run.progress("plain Kubernetes is begun")
        with plain.deployed(ground) as beside:
            found += by_kubernetes(beside, run)
    return found


def _struck(
    arm: str,
    subject: Subject,
    run: Run,
    rng: random.Random,
    aims: Sequence[Callable[[], Aimed]],
    quiet_s: float = QUIET_S,
) -> list[Row]:
    pace = Pace(rng, subject.every_s, quiet_s)
    job = subject.job(run.seed)
    done, seen = under_load(job, subject.until_whole, aims, pace, lambda text: run.progress(f"{arm}: {text}"))
    return rows(arm, done, seen)


def _scaled_up(subject: Deployment) -> tuple[float, float]:
    """From the order, how long Kubernetes' client took to give it, and until the Pod is counted on."""
    began_s = time.monotonic()
    _scale(subject, SPARES + 1)
    told_s = time.monotonic() - began_s
    until(lambda: EXTRA in subject.members(), f"that {EXTRA} has joined", subject.every_s)
    return told_s, time.monotonic() - began_s


def _scale(subject: Deployment, count: int) -> None:
    subject.ground.kubectl("scale", f"statefulset/{NAME}-spares", f"--replicas={count}")


def _rng(run: Run, arm: str) -> random.Random:
    return random.Random(f"{run.seed}-{arm}")
