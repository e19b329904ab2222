"""A host cut off from all others under load, by network namespaces: nothing but the silence of its workers tells."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from synfire.bench.arms.arm import ARMS, Conditions, Outcome
from synfire.bench.arms.deployed import Deployed
from synfire.bench.arms.workers import Struck, UnderLoad, harmless
from synfire.bench.benchmark import Floor, Progress, floor
from synfire.bench.trials import Found
from synfire.deploy.faults import Options, Scene, inject
from synfire.deploy.local import Settings
from synfire.deploy.network import impossible


class Partition(UnderLoad):
    """The host stays cut off until its loss was made good. Then its cable is mended: its workers, which lived on and know of
    nothing, come back with what they had still to say, and have to be of use again before the next cut."""

    name = "partition"
    about = "a host's cable is cut; its workers live on and are fenced; a hot spare on another host takes over"
    settings = Settings(http="", spares=1, hosts=3)
    trials = 40

    def measure(self, conditions: Conditions, progress: Progress) -> Outcome:
        reason = impossible()
        if reason:
            progress(f"{self.name}: skipped: {reason}")
            return Outcome((), details={f"{self.name} skipped": reason})
        return super().measure(conditions, progress)

    def strike(self, ground: Deployed, rng: random.Random) -> Struck:
        homes = ground.deployment.hosts
        host = homes.group(rng.choice(ground.staged))
        lost = tuple(worker for worker in ground.staged if homes.group(worker) == host)
        _toggle(ground, host)

        def undo() -> None:
            _toggle(ground, host)
            ground.within_patience(ground.deployment.workers.until_all_back, "complete again")

        return Struck(lost, undo=undo)

    def outcome(self, found: Found, ground: Deployed) -> Outcome:
        outcome = super().outcome(found, ground)
        fenced = sum(route.fenced for route in ground.deployment.routes.values())
        split = floor("partition_split_brain", "==", 0, fenced)
        return replace(outcome, floors=(*outcome.floors, split))

    def floors(self, total: Mapping[str, Any]) -> Iterator[Floor]:
        yield from harmless("partition", total)
        yield floor("partition_outage_p99_ms", "<=", 600, 1e3 * total["outage_p99_s"])


ARMS.add(Partition.name, Partition())


def _toggle(ground: Deployed, host: str) -> None:
    """Cut the host's cable, or mend it."""
    inject("link-partition", host, Scene(deployment=ground.deployment.id), Options(), lambda act: None)
