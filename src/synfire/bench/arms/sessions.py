"""Streaming sessions whose workers are killed: what they answer further is compared with an undisturbed run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from synfire.bench.arms.arm import ARMS
from synfire.bench.arms.deployed import session_cases
from synfire.bench.arms.workers import WorkerFault
from synfire.bench.benchmark import Floor, floor
from synfire.bench.witness import Case
from synfire.deploy.local import Settings
from synfire.deploy.planning import Planned


class Sessions(WorkerFault):
    """Each call goes on from the membranes that the one before left, so one that were brought back wrong would show in all
    that follow; the right answers are those of the uncut model in one process."""

    name = "sessions"
    about = "a worker with the state of sessions is killed; a hot spare goes on from checkpoints and the calls since"
    settings = Settings(http="", spares=1)
    trials = 100

    def load(self, planned: Planned, url: str) -> list[Case]:
        return session_cases(planned, url)

    def floors(self, total: Mapping[str, Any]) -> Iterator[Floor]:
        for name in ("wrong", "lost", "duplicated"):
            yield floor(f"session_{name}", "==", 0, total[name])


ARMS.add(Sessions.name, Sessions())
