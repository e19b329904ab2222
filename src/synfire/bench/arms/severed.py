"""Two hosts that live, and do not reach each other any more, under load: what one of them has moves to where all reach it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from synfire.bench.arms.arm import ARMS, Conditions, Outcome
from synfire.bench.arms.deployed import Deployed, deployed, planned_for
from synfire.bench.arms.workers import Struck, UnderLoad, harmless
from synfire.bench.benchmark import Floor, Progress
from synfire.bench.trials import Found
from synfire.bench.witness import Job, Seen, witness
from synfire.control.losses import SEVERED
from synfire.deploy.faults import Options, Scene, inject
from synfire.deploy.local import Settings
from synfire.deploy.network import impossible
from synfire.plan.plan import GATEWAY


class Severed(UnderLoad):
    """Of two hosts with stages that are linked, both reach all others. Nothing is lost, and what has moved stays where it is, so
    each trial has a deployment of its own."""

    name = "severed"
    about = "two hosts with linked stages do not reach each other; the stages of one move to where all reach them"
    settings = Settings(http="", spares=1, hosts=3)
    trials = 12

    def measure(self, conditions: Conditions, progress: Progress) -> Outcome:
        reason = impossible()
        if reason:
            progress(f"{self.name}: skipped: {reason}")
            return Outcome((), details={f"{self.name} skipped": reason})
        progress(f"{self.name}: planning")
        planned, rng = planned_for(conditions, self.workers), random.Random(f"{conditions.seed}-{self.name}")
        trials = 2 if conditions.quick else self.trials
        found = []
        for number in range(trials):
            progress(f"{self.name}: {number + 1} of {trials}")
            with deployed(planned, self.settings) as ground:
                job = Job(ground.url, {each.model.name: self.load(each, ground.url) for each in planned}, number)
                with witness(job) as load:
                    trial = self._trial(ground, rng)
                    seen = load.stop()
                found.append(Found((trial,), seen, ground.replays, ground.log.unprovoked))
        return self.outcome(_together(found), ground)

    def strike(self, ground: Deployed, rng: random.Random) -> Struck:
        ends = rng.choice(_linked(ground))
        inject("link-partition", ":".join(ends), Scene(deployment=ground.deployment.id), Options(), lambda act: None)
        return Struck((), cause=SEVERED)

    def floors(self, total: Mapping[str, Any]) -> Iterator[Floor]:
        yield from harmless("severed", total)


ARMS.add(Severed.name, Severed())


def _linked(ground: Deployed) -> list[tuple[str, ...]]:
    """The pairs of hosts between which frames travel."""
    hosts, pairs = ground.deployment.hosts, set()
    for route in ground.deployment.routes.values():
        for link in route.plan.links:
            if GATEWAY not in (link.sender, link.receiver):
                ends = {hosts.group(route.plan.stage(name).worker) for name in (link.sender, link.receiver)}
                pairs |= {tuple(sorted(ends))} if len(ends) > 1 else set()
    return sorted(pairs)


def _together(found: Sequence[Found]) -> Found:
    """All trials as those of one run."""
    seen = {
        model: Seen(
            b"".join(each.seen[model].sent for each in found),
            b"".join(each.seen[model].ended for each in found),
            b"".join(each.seen[model].verdicts for each in found),
            sum(each.seen[model].duplicated for each in found),
            [words for each in found for words in each.seen[model].complaints],
        )
        for model in found[0].seen
    }
    replays = {model: sum(each.replays[model] for each in found) for model in seen}
    return Found(tuple(each.trials[0] for each in found), seen, replays, sum(each.unprovoked for each in found))
