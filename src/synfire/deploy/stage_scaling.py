"""Has stages get more replicas, or fewer, by what they have to do: the eyes of `synfire.control.stage_replicas`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol

from synfire.base.clock import Clock, SystemClock
from synfire.base.errors import SynfireError
from synfire.base.log import LOGGER
from synfire.control.scaling import EASY, Load, begun, noted, stage_replicas_for, work_of
from synfire.control.state import ModelView
from synfire.plan.plan import Stage
from synfire.plan.replicas import others
from synfire.wire.messages import Description

LOOK_S = 0.25
"""How often workers are asked what their stages did."""

Key = tuple[str, str]
"""A model and its stage."""


class Seen(NamedTuple):
    """What a worker's stages had done at a time, in busy seconds."""

    at_s: float
    busy_s: Mapping[Key, float]


class Asked(Protocol):
    """Who is asked; a connection to a worker is one."""

    async def describe(self) -> Description: ...


class StageScaler:
    """Made and used in one event loop; `run` is its life. `peers` gives who is asked of a worker, None where it is gone; `models` are those of the
    deployment; `tell` is told, by model and stage, how many replicas there are to be."""

    def __init__(
        self,
        peers: Callable[[str], Asked | None],
        models: Callable[[], Iterable[ModelView]],
        tell: Callable[[str, str, int], None],
        clock: Clock | None = None,
    ) -> None:
        self._peers = peers
        self._models = models
        self._tell = tell
        self._clock = clock or SystemClock()
        self._seen: dict[str, Seen] = {}
        self._loads: dict[Key, tuple[Load, Load]] = {}

    async def run(self) -> None:
        """Look again and again, until cancelled; whatever fails, the next look comes."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.look()
            except Exception as error:
                LOGGER.error("what stages have to do could not be looked at, and is looked at again", exc_info=error)

    async def look(self) -> None:
        """Have every stage that scales by itself get as many replicas as it is to have now."""
        found = {
            (model.name, stage.name): (model, (stage, *others(model.plan, (stage,))))
            for model in self._models()
            for stage in model.scaling
            if stage.most > max(stage.least, 1) and stage.name not in model.resting
        }
        told = await self._asked({each.worker for _, replicas in found.values() for each in replicas})
        now_s = self._clock.now_s()
        shares = {name: self._shares(name, each, now_s) for name, each in told.items()}
        self._seen = {name: Seen(now_s, _busy_s(each)) for name, each in told.items()}
        loads = {}
        for key, (model, replicas) in found.items():
            work = sum(_work(shares.get(each.worker, {}), (model.name, each.name)) for each in replicas)
            requests = sum(_requests(told.get(each.worker), (model.name, each.name)) for each in replicas)
            before = self._loads.get(key, (begun(len(replicas) * EASY, now_s), Load()))
            loads[key] = noted(before[0], work, now_s), noted(before[1], requests, now_s)
            self._judge(model, replicas, *loads[key])
        self._loads = loads

    def _judge(self, model: ModelView, replicas: tuple[Stage, ...], work: Load, requests: Load) -> None:
        stage, present = replicas[0], len(replicas)
        before = model.replicas.get(stage.name, 1)
        count = stage_replicas_for(work, requests, max(present, before))
        if count == before:
            return
        LOGGER.info(
            "stage %s.%s: work for %.2f workers, %.1f requests at a time: %d replicas, where %d are",
            model.name,
            stage.name,
            work.average,
            requests.average,
            count,
            present,
        )
        self._tell(model.name, stage.name, count)

    async def _asked(self, workers: Iterable[str]) -> dict[str, Description]:
        """What these workers say; those that are gone say nothing."""
        found = {}
        for name in sorted(workers):
            peer = self._peers(name)
            try:
                if peer is not None:
                    found[name] = await peer.describe()
            except SynfireError as error:
                LOGGER.info("worker %s does not tell what its stages do: %s", name, error)
        return found

    def _shares(self, name: str, said: Description, now_s: float) -> dict[Key, float]:
        """For what share of the time since the last look the worker was busy with each of its stages."""
        before = self._seen.get(name)
        if before is None or now_s <= before.at_s:
            return {}
        return {
            key: max(0.0, busy_s - before.busy_s.get(key, busy_s)) / (now_s - before.at_s)
            for key, busy_s in _busy_s(said).items()
        }


def _busy_s(said: Description) -> dict[Key, float]:
    return {(each.model, each.stage): each.busy_s for each in said.stages}


def _work(shares: Mapping[Key, float], key: Key) -> float:
    own = shares.get(key, 0.0)
    return work_of(own, sum(shares.values()) - own)


def _requests(said: Description | None, key: Key) -> int:
    return sum(each.requests for each in said.stages if (each.model, each.stage) == key) if said is not None else 0
