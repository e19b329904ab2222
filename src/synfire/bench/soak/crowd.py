"""Those who call at a time."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping

from synfire.bench.soak.callers import Caller, Doors, Tell
from synfire.bench.soak.questions import Repertoire
from synfire.bench.soak.schedule import Load


class Crowd:
    """The callers of a load, as tasks of a group, which ends with the first that tells of a violation."""

    def __init__(
        self,
        group: asyncio.TaskGroup,
        doors: Callable[[], Doors],
        repertoires: Mapping[str, Repertoire],
        seed: int,
        tell: Tell,
    ) -> None:
        self._group = group
        self._doors = doors
        self._repertoires = repertoires
        self._seed = seed
        self._tell = tell
        self._numbers: Counter[str] = Counter()
        self._calling: dict[asyncio.Task[None], Caller] = {}
        self._load = Load(0.0, (), 0.0)

    def change(self, load: Load) -> None:
        """Let others call from now on; who is there leaves as soon as its answer, or its session, is over."""
        self.dismiss()
        self._load = load
        for kind, count in load.callers:
            for _ in range(count):
                self._invite(kind, load.pause_s)

    def again(self) -> None:
        """Let them call as they did before they were told to leave."""
        self.change(self._load)

    def dismiss(self) -> None:
        """Tell everybody to leave."""
        for caller in self._calling.values():
            caller.leave()

    async def gone(self) -> None:
        """Wait until everybody has left who was told to."""
        if self._calling:
            await asyncio.wait(self._calling)

    def _invite(self, kind: str, pause_s: float) -> None:
        self._numbers[kind] += 1
        rng = random.Random(f"{self._seed}-{kind}-{self._numbers[kind]}")
        caller = Caller(kind, self._doors, self._repertoires, rng, self._tell)
        task = self._group.create_task(caller.run(pause_s))
        self._calling[task] = caller
        task.add_done_callback(self._calling.pop)
