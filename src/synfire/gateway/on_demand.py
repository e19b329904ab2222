"""Models of the store that a gateway's callers may call whether they are loaded or not: who waits for one, and who still uses it."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Collection

from synfire.base.clock import Clock, SystemClock
from synfire.base.errors import DeadlineExceeded, SynfireError, TemporaryError, UnknownName
from synfire.gateway.limits import Limits
from synfire.store import ModelName, ModelStore, Tagged
from synfire.wire.messages import Loaded, Unwanted, Use, Uses, Want, error_of

REPORT_S = 0.2
"""How often at most the controller is told of uses: it needs them to know who goes first, and asks again before anybody does."""

_FOR_EVER_S = -1.0


class OnDemand:
    """What one gateway knows of such models. Made and used in one event loop; `tell` is how the controller is told."""

    def __init__(
        self, store: ModelStore | None = None, limits: Limits | None = None, clock: Clock | None = None
    ) -> None:
        self.tell: Callable[[Want | Uses], None] = lambda message: None
        self.residents: tuple[Loaded, ...] = ()
        self.store = store or ModelStore()
        self._limits = limits or Limits()
        self._clock = clock or SystemClock()
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._waiters = 0
        self._calls: dict[str, int] = {}
        self._last_s: dict[str, float] = {}
        self._keep_s: dict[str, float] = {}
        self._report: asyncio.TimerHandle | None = None

    async def find(self, name: str) -> str:
        """What a model of the store is served as. Raises `UnknownName` for one that is not there."""
        known = await asyncio.to_thread(self._known, name)
        return known.name.short

    async def load(self, model: str) -> None:
        """Have a model of the store loaded, and wait for it, by the name that it is served as.

        Raises what stands against it; `TemporaryError` where too many wait already, `DeadlineExceeded` where it takes too long.
        """
        if self._waiters >= self._limits.queued:
            raise TemporaryError(
                f"{self._waiters} calls wait for models that are being loaded (limit queued={self._limits.queued}); retry later",
                self._limits.retry_after_s,
            )
        waiting = self._waiting.get(model)
        if waiting is None:
            waiting = self._waiting[model] = asyncio.get_running_loop().create_future()
            self.tell(Want(model))
        self._waiters += 1
        try:
            async with asyncio.timeout(self._limits.load_timeout_s):
                await asyncio.shield(waiting)
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"model {model!r} was not loaded within {self._limits.load_timeout_s:g} s (limit load_timeout_s); it goes on "
                "loading: call again"
            ) from error
        finally:
            self._waiters -= 1

    def joins(self, model: str) -> None:
        """The model is about to be served: its calls are counted from now on."""
        self._calls.setdefault(model, 0)
        self._last_s.setdefault(model, self._clock.now_s())

    def arrived(self, model: str) -> None:
        """The model is served, and takes calls."""
        self._settle(model, None)

    def refused(self, refusal: Unwanted) -> None:
        """The model cannot be loaded."""
        self._settle(refusal.model, error_of(refusal))

    def left(self, model: str) -> None:
        """The model is served no longer."""
        for known in (self._calls, self._last_s, self._keep_s):
            known.pop(model, None)

    def attend(self) -> None:
        """Another controller is there: tell it everything."""
        for model in self._waiting:
            self.tell(Want(model))
        self._tell_uses()

    def keep(self, model: str, seconds: float | None) -> None:
        """Have the model stay for so long after its last call, from now on; None for as long as is usual."""
        if model not in self._calls:
            return
        if seconds is None:
            self._keep_s.pop(model, None)
        else:
            self._keep_s[model] = seconds
        self._note(model)

    def begun(self, model: str) -> None:
        """A call of the model has begun. One that is always there is none of ours."""
        if model in self._calls:
            self._calls[model] += 1
            self._note(model)

    def ended(self, model: str) -> None:
        """A call of the model has ended, in whatever way."""
        if model in self._calls:
            self._calls[model] -= 1
            self._note(model)

    def is_idle(self, model: str, for_s: float = 0.0) -> bool:
        """Whether nobody calls the model, and nobody has for so many seconds."""
        if self._calls.get(model) or model in self._waiting:
            return False
        return self._clock.now_s() - self._last_s.get(model, -math.inf) >= for_s

    def until_s(self, model: str) -> float:
        """When the model is unloaded, if nobody calls it, in seconds since the epoch; `math.inf` for never. What callers have said here
        goes before what the controller has told, which is a little older."""
        if model in self._keep_s:
            return time.time() - (self._clock.now_s() - self._last_s[model]) + self._keep_s[model]
        told = next((each.until_s for each in self.residents if each.model == model), None)
        return math.inf if told is None else told

    def _known(self, name: str) -> Tagged:
        if not ModelName.suits(name):
            raise UnknownName.among("model", name, self._names())
        found = self.store.find(ModelName.parse(name))
        if found is None:
            raise UnknownName.among("model", name, self._names())
        return found

    def _names(self) -> Collection[str]:
        return [each.name.short for each in self.store.names()]

    def _settle(self, model: str, error: SynfireError | None) -> None:
        waiting = self._waiting.pop(model, None)
        if waiting is None or waiting.done():
            return
        if error is None:
            waiting.set_result(None)
        else:
            waiting.set_exception(error)
            waiting.exception()  # who waited may have gone away

    def _note(self, model: str) -> None:
        self._last_s[model] = self._clock.now_s()
        if self._report is None:
            self._report = asyncio.get_running_loop().call_later(REPORT_S, self._tell_uses)

    def _tell_uses(self) -> None:
        if self._report is not None:
            self._report.cancel()
            self._report = None
        now_s = self._clock.now_s()
        self.tell(
            Uses(
                tuple(
                    Use(model, bool(calls), now_s - self._last_s[model], self._kept(model))
                    for model, calls in self._calls.items()
                )
            )
        )

    def _kept(self, model: str) -> float | None:
        keep_s = self._keep_s.get(model)
        return _FOR_EVER_S if keep_s == math.inf else keep_s
