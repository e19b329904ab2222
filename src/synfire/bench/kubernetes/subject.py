"""What is struck while callers ask it, and how: faults that are aimed, caused, found to be made good, and undone."""

from __future__ import annotations

import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from synfire.bench.arms.deployed import cases_of
from synfire.bench.benchmark import Progress
from synfire.bench.kubernetes.ground import Document, Ground, restarts_of, until
from synfire.bench.kubernetes.trials import Trial
from synfire.bench.witness import Case, Job, Seen, witness
from synfire.graph import flatten
from synfire.graph.passes import simplify
from synfire.zoo import load

MODEL = "svgg-digits"

CALLERS = 4
"""Connections, each with one request at a time."""

PAUSE_S = 0.02
"""Between a caller's requests: nodes share this machine's processors, and callers without a pause would take what Pods need to begin."""

QUIET_S = 4.0
"""Before each fault, with callers and no fault: a spare has built its stages by then. A random time of up to a second comes on top."""

PATIENCE_S = 2.0
"""A caller of others than synfire gives a request up after so long, and connects anew: so it meets a replica that lives."""

KILL, DELETE, CUT, ROLLOUT = "SIGKILL", "delete pod", "node cut", "rollout"


@dataclass(frozen=True)
class Aimed:
    """A fault: what is looked up before is done. `over` says whether it was made good, `undo` is called then."""

    fault: str
    target: str
    strike: Callable[[], object]
    over: Callable[[], bool]
    undo: Callable[[], object] = lambda: None


class Subject(ABC):
    """Something in a cluster that answers for `MODEL` at `url`, and has Pods that can be lost."""

    every_s: ClassVar[float]
    """How often it is looked at, in seconds."""
    patience_s: ClassVar[float]
    """After how long its callers give a request up, in seconds."""
    sets: ClassVar[tuple[str, ...]]
    """What a rollout begins anew, one after the other."""

    def __init__(self, ground: Ground, url: str) -> None:
        self.ground = ground
        self.url = url

    @abstractmethod
    def whole(self) -> bool:
        """Whether all of its Pods can be counted on, and answers are protected as before."""

    def there(self) -> bool:
        """Whether all of its Pods can be counted on."""
        return self.whole()

    @abstractmethod
    def exposed(self) -> Sequence[str]:
        """The Pods whose loss callers may notice."""

    @abstractmethod
    def without(self, pod: Document) -> bool:
        """Whether nothing is asked of the Pod that was lost any more."""

    def until_whole(self) -> None:
        """Wait for it. Raises `PermanentError` when it does not come about."""
        until(self.whole, "that all Pods are there", self.every_s)

    def killed(self, rng: random.Random) -> Aimed:
        """A Pod, by SIGKILL and by deletion in turns: Kubernetes would wait before it begins a container of the same Pod a second time."""
        pod = self.ground.pod(rng.choice(self.exposed()))
        kill = self.ground.cluster is not None and not restarts_of(pod)
        strike = self.ground.kill if kill else self.ground.delete
        return self._aimed(KILL if kill else DELETE, pod, lambda: strike(pod))

    def cut(self, rng: random.Random) -> Aimed:
        """The cable of a node with such a Pod, until that has been made good."""
        pod = self.ground.pod(rng.choice([each for each in self.exposed() if self.expendable(each)]))
        node = pod["spec"]["nodeName"]
        return self._aimed(CUT, pod, lambda: self.ground.cut(node), lambda: self.ground.mend(node))

    def rolled(self) -> Aimed:
        """Every Pod begun anew, as an upgrade does."""

        def strike() -> None:
            for each in self.sets:
                self.ground.kubectl("rollout", "restart", each)
                self.ground.rolled_out(each)

        return Aimed(ROLLOUT, ", ".join(self.sets), strike, self.there)

    def expendable(self, pod: str) -> bool:
        """Whether its node may be cut off, of a Pod that is exposed."""
        return True

    def job(self, seed: int) -> Job:
        """What its callers ask."""
        cases = cases_of(simplify(flatten(load(MODEL))), MODEL, self.url)
        return job_of(self.url, cases, seed, self.patience_s)

    def _aimed(
        self, fault: str, pod: Document, strike: Callable[[], object], undo: Callable[[], object] = lambda: None
    ) -> Aimed:
        return Aimed(fault, pod["metadata"]["name"], strike, lambda: self.without(pod), undo)


def job_of(url: str, cases: list[Case], seed: int, patience_s: float) -> Job:
    """All callers ask the same, each in an order of its own."""
    return Job(url, {f"caller-{number}": cases for number in range(CALLERS)}, seed, patience_s, PAUSE_S)


@dataclass(frozen=True)
class Pace:
    """How long it is quiet before each fault, in seconds, with up to a second of chance on top; how often it is looked whether that was made
    good."""

    rng: random.Random
    every_s: float
    quiet_s: float = QUIET_S


def under_load(
    job: Job, until_whole: Callable[[], None], aims: Iterable[Callable[[], Aimed]], pace: Pace, progress: Progress
) -> tuple[list[Trial], dict[str, Seen]]:
    """Cause the faults one after the other, each when all is as before, while the callers of the job ask."""
    with witness(job) as load:
        done = []
        for number, aim in enumerate(aims):
            until_whole()
            aimed = aim()
            progress(f"fault {number + 1}: {aimed.fault} of {aimed.target}")
            done.append(_trial(aimed, until_whole, pace))
        return done, load.stop()


def _trial(aimed: Aimed, until_whole: Callable[[], None], pace: Pace) -> Trial:
    began_s = time.monotonic()
    time.sleep(pace.quiet_s + pace.rng.random())
    at_s = time.monotonic()
    aimed.strike()
    try:
        until(aimed.over, f"that {aimed.fault} of {aimed.target} is made good", pace.every_s)
        over_s = time.monotonic()
    finally:
        aimed.undo()
    until_whole()
    return Trial(aimed.fault, aimed.target, began_s, at_s, over_s, time.monotonic())
