"""A worker that runs, who is told of it, and who does what a deployment does not do itself."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from synfire.base.errors import SynfireError
from synfire.deploy.gateways import Gateways
from synfire.deploy.launch import Launch
from synfire.deploy.process import Process
from synfire.gateway.peer import WorkerPeer
from synfire.plan import Plan
from synfire.store import BlobStore
from synfire.wire.messages import Joined, StageLost, StageMended


class Crew(Protocol):
    """Who begins worker processes; `synfire.deploy.crew.RemoteCrew` is one."""

    def start(self, launch: Launch) -> Process:
        """Begin a worker's process, if it does not run already."""
        ...

    async def renew(self, name: str, successor: str) -> None:
        """Have another worker begun beside one that has joined, and return when it has joined, too. Raises why it has not."""
        ...

    def renew_all(self) -> None:
        """Have all that is begun later begun with the code that is installed now."""
        ...


@dataclass(frozen=True)
class Partners:
    """Who does what a deployment does not do itself: answer calls, start worker processes; and where their sockets are.

    `owner` is the process with which the deployment ends, `store` where all of them find what models consist of.
    """

    gateways: Gateways
    crew: Crew
    folder: Path
    owner: int
    store: BlobStore | None = None


@dataclass(eq=False)
class RunningWorker:
    """A worker process and the controller's connection to it. `failure` says why it is gone, if it is; once it is `parted`
    nobody counts on it any more. Workers of other machines call it at `outer`; one of these itself has `joined`."""

    process: Process
    peer: WorkerPeer
    address: str
    http: str
    watching: asyncio.Task[None] | None = None
    leaving: asyncio.Task[None] | None = None
    failure: SynfireError | None = None
    parted: bool = False
    outer: str = ""
    joined: Joined | None = None


class Listener(Protocol):
    """Who is told of workers, and knows what is wanted of them."""

    def plans(self) -> list[Plan]:
        """Where all stages are wanted."""
        ...

    def kind(self, worker: str) -> str:
        """The device class that a worker is to have; empty for any."""
        ...

    def changed(self) -> None:
        """Another worker is there."""
        ...

    def worker_ready(self, worker: str, back: bool) -> None:
        """A worker is there that holds nothing; or is there again, having been taken to be lost."""
        ...

    def worker_lost(self, worker: str, cause: str, began_s: float | None = None) -> None:
        """A worker is not counted on any more; `began_s` is when it was last heard of, if that is long ago."""
        ...

    def worker_leaves(self, worker: str) -> Coroutine[Any, Any, None] | None:
        """A worker is about to go: what has to be awaited until others have built what they will take over from it; None where they have."""
        ...

    def worker_died(self, worker: str, failure: SynfireError) -> None:
        """Its process has ended without being told to."""
        ...

    def worker_reported(self, worker: str, report: StageMended | StageLost) -> None:
        """A worker has something to tell of the device under a stage."""
        ...
