"""Work that takes long tells what it is doing, to whoever shows that to a user; mostly nobody does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Tell = Callable[[str, str, float | None], None]
"""(which work, what of it is being done, the share that is done: None where nobody knows, and 1 ends it)."""


def _nobody(which: str, what: str, share: float | None) -> None:
    """Nobody wants to know."""


_listener: ContextVar[Tell] = ContextVar("listener", default=_nobody)


def tell(which: str, what: str, share: float | None = None) -> None:
    """Tell who listens here, if anybody does."""
    _listener.get()(which, what, share)


@contextmanager
def told_to(listener: Tell) -> Iterator[None]:
    """What the block tells, this listener hears."""
    before = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(before)
