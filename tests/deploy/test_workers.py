"""Workers that a deployment counts on: what gateways are told of one that leaves."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from synfire.control.suspicion import Heartbeats
from synfire.deploy.running import RunningWorker
from synfire.deploy.settings import Settings
from synfire.deploy.workers import Workers
from synfire.wire.links import listen


class Process:
    """A worker's process, which ends when the test says so."""

    starved = False

    def __init__(self, name: str) -> None:
        self.name = name
        self._code: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @property
    def ended(self) -> bool:
        return self._code.done()

    async def exited(self) -> int:
        return await self._code

    async def obituary(self) -> str:
        return f"worker {self.name} left with exit code {await self._code}"

    def end(self, code: int) -> None:
        self._code.set_result(code)

    def kill(self) -> None:
        if not self.ended:
            self.end(-9)


class Peer:
    """A connection to a worker, which says that it leaves when the test says so."""

    lost = None
    draining = free = False

    def on_lost(self, act: Callable[..., object]) -> None: ...
    def on_report(self, act: Callable[..., object]) -> None: ...
    def close(self) -> None: ...

    def on_draining(self, act: Callable[[], None]) -> None:
        self._act = act

    def leave(self) -> None:
        self.draining = True
        self._act()

    def let_go(self) -> None:
        self.free = True


class Scene:
    """A deployment's workers, what gateways are told to part from, and what becomes of workers."""

    def __init__(self, folder: Path) -> None:
        self.parted: list[str] = []
        self.lost: list[tuple[str, str]] = []
        self.building: asyncio.Event | None = None
        self.workers = Workers("d", Settings(heartbeats=Heartbeats(20.0, 60.0)), self, self)  # type: ignore[arg-type]
        self._listener, self._address = listen(f"unix:{folder}/w.sock")

    def take_on(self, name: str) -> RunningWorker:
        """Count on another worker of that name."""
        worker: Any = RunningWorker(Process(name), Peer(), self._address, "")  # type: ignore[arg-type]
        self.workers.take_on(name, worker)
        return worker

    def part(self, worker: str) -> None:
        self.parted.append(worker)

    def worker_lost(self, worker: str, cause: str, began_s: float | None = None) -> None:
        self.lost.append((worker, cause))

    def worker_leaves(self, worker: str) -> Coroutine[Any, Any, Any] | None:
        return self.building.wait() if self.building is not None else None

    def worker_ready(self, worker: str, back: bool) -> None: ...
    def worker_died(self, worker: str, failure: Exception) -> None: ...
    def changed(self) -> None: ...

    def close(self) -> None:
        self.workers.close()
        self._listener.close()


def told(story: Callable[[Scene], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        with tempfile.TemporaryDirectory(prefix="sf") as folder:
            scene = Scene(Path(folder))
            try:
                await story(scene)
            finally:
                scene.close()

    asyncio.run(main())


def test_gateways_stay_linked_to_a_worker_that_leaves_until_it_has_ended() -> None:
    async def story(scene: Scene) -> None:
        far = scene.take_on("far")
        far.peer.leave()
        assert (scene.lost, "far" in scene.workers) == ([("far", "leaving")], False)
        assert scene.parted == []  # it has still to answer what it has accepted
        far.process.end(0)
        await far.watching
        assert scene.parted == ["far"]

    told(story)


def test_one_that_does_not_leave_in_good_order_is_forgotten_as_well() -> None:
    async def story(scene: Scene) -> None:
        far = scene.take_on("far")
        far.peer.leave()
        far.process.end(1)
        await far.watching
        assert (scene.lost, scene.parted) == ([("far", "leaving")], ["far"])

    told(story)


def test_gateways_do_not_part_from_who_has_come_by_the_name_of_one_that_ends_later() -> None:
    async def story(scene: Scene) -> None:
        old = scene.take_on("far")
        old.peer.leave()
        new = scene.take_on("far")
        old.process.end(0)
        await old.watching
        assert scene.parted == []
        new.peer.leave()
        new.process.end(0)
        await new.watching
        assert scene.parted == ["far"]

    told(story)


def test_one_that_leaves_is_counted_on_until_others_have_built_what_it_hosts() -> None:
    async def story(scene: Scene) -> None:
        scene.building, far = asyncio.Event(), scene.take_on("far")
        far.peer.leave()
        assert (scene.lost, "far" in scene.workers, far.peer.free) == ([], True, False)
        scene.building.set()
        await far.leaving
        await asyncio.sleep(0)
        assert (scene.lost, "far" in scene.workers, far.peer.free) == ([("far", "leaving")], False, True)
        far.process.end(0)
        await far.watching

    told(story)


def test_one_that_dies_while_others_build_what_it_hosts_is_lost_at_once() -> None:
    async def story(scene: Scene) -> None:
        scene.building, far = asyncio.Event(), scene.take_on("far")
        far.peer.leave()
        far.process.end(-9)
        await far.watching
        assert scene.lost == [("far", "exit")]
        scene.building.set()
        await far.leaving
        await asyncio.sleep(0)
        assert scene.lost == [("far", "exit")]

    told(story)


def test_nobody_is_kept_by_a_deployment_that_ends() -> None:
    async def story(scene: Scene) -> None:
        scene.building, far = asyncio.Event(), scene.take_on("far")
        far.peer.leave()
        scene.workers.close()
        await asyncio.wait([far.leaving])
        await asyncio.sleep(0)
        assert (scene.lost, far.peer.free) == ([], True)
        far.process.end(0)
        await far.watching

    told(story)
