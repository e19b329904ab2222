"""Has models that scale by themselves get more replicas, or fewer, and stages sleep: the hands of `synfire.control.scaling`."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Protocol

from synfire.base.clock import Clock, SystemClock
from synfire.base.log import LOGGER
from synfire.control.scaling import Load, begun, noted, replicas_for
from synfire.wire.messages import Pressure
from synfire.wire.wish import Scale

LOOK_S = 0.25
"""How often is looked at what there is to do, beside whenever somebody calls."""


class Scaled(Protocol):
    """Whose models scale; `synfire.deploy.wishes.Wishes` is one."""

    @property
    def scaled(self) -> dict[str, Scale]: ...
    def awake(self, name: str) -> int: ...
    def scale(self, name: str, count: int) -> None: ...


class Scaler:
    """Made and used in one event loop; `run` is its life. Gateways tell it their calls by `hear`; `stages` hears at each look how many there
    are of each model."""

    def __init__(
        self,
        models: Scaled,
        clock: Clock | None = None,
        stages: Callable[[Mapping[str, int]], None] = lambda calls: None,
    ) -> None:
        self._models = models
        self._stages = stages
        self._clock = clock or SystemClock()
        self._calls: dict[str, dict[str, int]] = {}
        self._loads: dict[str, Load] = {}
        self._called = asyncio.Event()

    def hear(self, gateway: str, pressure: Pressure) -> None:
        """A gateway has so many calls now."""
        self._calls[gateway] = pressure.calls
        self._called.set()

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):  # nobody has called: what is quiet for long has to be noticed, too
                async with asyncio.timeout(LOOK_S):
                    await self._called.wait()
            self._called.clear()
            self.look()

    def look(self) -> None:
        """Have every model get as many replicas as it is to have now."""
        calls: Counter[str] = Counter()
        for told in self._calls.values():
            calls.update(told)
        scaled, now_s = self._models.scaled, self._clock.now_s()
        present = {name: self._models.awake(name) for name in scaled}
        before = {name: begun(present[name] * scale.calls, now_s) for name, scale in scaled.items()} | self._loads
        self._loads = {name: noted(before[name], calls[name], now_s) for name in scaled}
        for name, scale in scaled.items():
            wanted = replicas_for(self._loads[name], scale, present[name], calls[name], now_s)
            if wanted != present[name]:
                LOGGER.info(
                    "model %s: %d replicas for %.1f calls, where %d are", name, wanted, calls[name], present[name]
                )
            self._models.scale(name, wanted)
        self._stages(calls)
