"""Names that callers may call and that nothing answers yet: their calls are held, within their deadline, until something does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from synfire.base.errors import Overloaded, TemporaryError
from synfire.gateway.limits import Limits


@dataclass(eq=False)
class _Awaited:
    """A name, `why` nothing answers it, and whether its calls are held, and not refused."""

    why: Callable[[], str]
    held: bool
    settled: asyncio.Event = field(default_factory=asyncio.Event)


class Coming:
    """The names of one gateway. Made and used in one event loop; as many calls are held as may wait for one model."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._names: dict[str, _Awaited] = {}
        self._waiting = 0

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def expect(self, name: str, why: Callable[[], str], held: bool = True) -> None:
        """Nothing answers the name for now, and `why` tells the reason; its calls are held, or else refused."""
        self.settle(name)
        self._names[name] = _Awaited(why, held)

    def settle(self, name: str) -> None:
        """The name is answered now, or is none any more, or stands otherwise: calls that are held look again. One that is not awaited is
        no error."""
        awaited = self._names.pop(name, None)
        if awaited is not None:
            awaited.settled.set()

    def close(self) -> None:
        """Hold no call any more: those that wait are refused."""
        for name, awaited in list(self._names.items()):
            self.expect(name, awaited.why, held=False)

    def why(self, name: str) -> str:
        """Why nothing answers a name that is awaited."""
        return self._names[name].why()

    def refusal(self, name: str) -> TemporaryError:
        """What who asks for a name that is awaited is told."""
        return TemporaryError(f"{name!r} takes no calls yet: {self.why(name)}", self._limits.retry_after_s)

    async def wait(self, name: str, within_s: float) -> None:
        """Wait until the name is awaited no longer. Raises `TemporaryError` where its calls are not held, and when it has taken too long;
        `Overloaded` where too many wait already."""
        try:
            async with asyncio.timeout(within_s):
                while name in self._names:
                    await self._hold(name)
        except TimeoutError:
            if name in self._names:
                told = f"{self.refusal(name)}; this call was held until its deadline"
                raise TemporaryError(told, self._limits.retry_after_s) from None

    async def _hold(self, name: str) -> None:
        awaited = self._names[name]
        if not awaited.held:
            raise self.refusal(name)
        if self._waiting >= self._limits.queued:
            raise Overloaded(
                f"{self._waiting} calls wait for names that nothing answers yet (limit queued={self._limits.queued}); retry later",
                self._limits.retry_after_s,
            )
        self._waiting += 1
        try:
            await awaited.settled.wait()
        finally:
            self._waiting -= 1
