"""Workers lost at random under load: a hot spare, a warm one, or none takes over."""

from __future__ import annotations

import random
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from synfire.base.processes import born
from synfire.bench.arms.arm import ARMS, Arm, Conditions, Outcome
from synfire.bench.arms.deployed import Deployed, cases, deployed, planned_for
from synfire.bench.benchmark import Floor, Progress, floor
from synfire.bench.trials import ALL, Found, Trial
from synfire.bench.witness import Case, Job, Seen, witness
from synfire.deploy.faults import Options, Process, Scene, inject
from synfire.deploy.local import Settings
from synfire.deploy.planning import Planned

PAUSE_S = 0.3
"""A fault comes at a random time within this, once all is warm again."""


@dataclass(frozen=True)
class Struck:
    """What a fault hit: the workers with stages that are lost by it, or, where none is, the `cause` that its record has. `undo` is
    called once that was made good."""

    lost: tuple[str, ...]
    cause: str = ""
    undo: Callable[[], None] = lambda: None


class UnderLoad(Arm):
    """A fault to workers that hold stages, again and again, each once all is warm, while a client of each model asks."""

    workers: ClassVar[int] = 2
    settings: ClassVar[Settings]
    trials: ClassVar[int]

    def measure(self, conditions: Conditions, progress: Progress) -> Outcome:
        trials = 2 if conditions.quick else self.trials
        progress(f"{self.name}: planning")
        planned = planned_for(conditions, self.workers)
        with deployed(planned, self.settings) as ground:
            job = Job(ground.url, {each.model.name: self.load(each, ground.url) for each in planned}, conditions.seed)
            with witness(job) as load:
                rng = random.Random(f"{conditions.seed}-{self.name}")
                done = []
                for number in range(trials):
                    progress(f"{self.name}: {number + 1} of {trials}")
                    done.append(self._trial(ground, rng))
                seen = load.stop()
            return self.outcome(Found(tuple(done), seen, ground.replays, ground.log.unprovoked), ground)

    def load(self, planned: Planned, url: str) -> list[Case]:
        """What the model's client asks."""
        return cases(planned, url)

    @abstractmethod
    def strike(self, ground: Deployed, rng: random.Random) -> Struck:
        """Cause the fault."""

    def outcome(self, found: Found, ground: Deployed) -> Outcome:
        """Rows and floors of what was found."""
        rows = found.rows(self.name)
        (total,) = (row for row in rows if row["family"] == ALL)
        return Outcome(tuple(rows), tuple(self.floors(total)), tuple(_complaints(found.seen)))

    def floors(self, total: Mapping[str, Any]) -> Iterator[Floor]:
        """What this arm promises of all families together: nothing, unless it says so."""
        return iter(())

    def _trial(self, ground: Deployed, rng: random.Random) -> Trial:
        """Wait until all is warm, cause the fault at a random time, and wait until it is made good."""
        ground.until_warm()
        time.sleep(rng.uniform(0, PAUSE_S))
        at_s, at_1970_s = time.monotonic(), time.time()
        struck = self.strike(ground, rng)
        record = ground.log.of(struck.lost) if struck.lost else ground.log.caused_by(struck.cause)
        struck.undo()
        ground.until_warm()
        return Trial(at_s, at_1970_s, ", ".join(struck.lost) or record.cause.target, record, time.monotonic() - at_s)


class WorkerFault(UnderLoad):
    """A fault to one random worker; by default a kill."""

    fault: ClassVar[str] = "worker-kill"
    """A kind of `synfire.deploy.faults` that takes a worker, which is lost by it."""

    def strike(self, ground: Deployed, rng: random.Random) -> Struck:
        name = rng.choice(ground.staged)
        pid = ground.deployment.workers[name].process.pid
        inject(self.fault, name, Scene({name: Process(name, pid, born(pid))}), Options(), lambda act: None)
        return Struck((name,))


class Hot(WorkerFault):
    name = "hot"
    about = "a worker is killed; a spare that has built every stage beforehand takes over"
    settings = Settings(http="", spares=1)
    trials = 200

    def floors(self, total: Mapping[str, Any]) -> Iterator[Floor]:
        yield from harmless("kill", total)
        yield floor("kill_outage_p99_ms", "<=", 150, 1e3 * total["outage_p99_s"])
        yield floor("kill_outage_p50_ms", "<=", 60, 1e3 * total["outage_p50_s"])


class Warm(WorkerFault):
    name = "warm"
    about = "a worker is killed; a spare process with runtime and kernels loaded builds its stages and takes over"
    settings = Settings(http="", spares=1, prepare=False)
    trials = 40


class Cold(WorkerFault):
    name = "cold"
    about = "the only worker is killed; there is no spare: a new process is started and builds every stage"
    workers = 1
    settings = Settings(http="")
    trials = 40


class Hang(WorkerFault):
    name = "hang"
    about = (
        "a worker is stopped, and only its heartbeats tell; a spare that has built every stage beforehand takes over"
    )
    fault = "worker-stop"
    settings = Settings(http="", spares=1)
    trials = 100

    def floors(self, total: Mapping[str, Any]) -> Iterator[Floor]:
        yield from harmless("hang", total)
        yield floor("hang_outage_p99_ms", "<=", 600, 1e3 * total["outage_p99_s"])


def harmless(what: str, total: Mapping[str, Any]) -> Iterator[Floor]:
    """The promise that nobody is answered wrong, twice, or not at all."""
    for name in ("lost", "wrong", "duplicated"):
        yield floor(f"{what}_{name}", "==", 0, total[name])


for kind in (Hot, Warm, Cold, Hang):
    ARMS.add(kind.name, kind())


def _complaints(seen: Mapping[str, Seen]) -> Iterator[str]:
    return (f"{model}: {each}" for model, one in seen.items() for each in one.complaints)
