"""Bits of membranes that flip under load: what sessions answer further is compared with an undisturbed run."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

from synfire.base.processes import born
from synfire.bench.arms.arm import ARMS
from synfire.bench.arms.deployed import Deployed, session_cases
from synfire.bench.arms.workers import Struck, UnderLoad, harmless
from synfire.bench.benchmark import Floor
from synfire.bench.witness import Case
from synfire.deploy.faults import Options, Process, Scene, inject
from synfire.deploy.local import Settings
from synfire.deploy.planning import Planned


class Membrane(UnderLoad):
    """A bit flips of what some session, drawn like the bit, has left at some stage. The session's next call finds that, and the
    session is brought back from its checkpoint. No worker is lost here for having been hit often: that is what is done."""

    name = "membrane"
    about = "a bit of a session's state flips at rest; the session goes on from its last checkpoint and the calls since"
    settings = Settings(http="", most_flips=1 << 30)
    trials = 200

    def load(self, planned: Planned, url: str) -> list[Case]:
        return session_cases(planned, url)

    def strike(self, ground: Deployed, rng: random.Random) -> Struck:
        name = rng.choice(ground.staged)
        worker = ground.deployment.workers[name]
        pid = worker.process.pid
        scene = Scene(
            {name: Process(name, pid, born(pid))}, deployment=ground.deployment.id, addresses={name: worker.address}
        )
        inject("membrane-bit", name, scene, Options(seed=rng.getrandbits(32)), lambda act: None)
        return Struck((name,))

    def floors(self, total: Mapping[str, Any]) -> Iterator[Floor]:
        yield from harmless("membrane", total)


ARMS.add(Membrane.name, Membrane())
