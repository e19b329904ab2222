"""When Python looks for garbage in a process that serves: seldom, and never in what was loaded at its start."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

YOUNG = 10_000
"""After so many new objects garbage is looked for. A call under way holds some hundred, and hardly one of them is ever part of a
cycle: Python's own 700 would have it looked for with every few calls."""


def look_seldom() -> None:
    """Whatever is loaded now stays, and is not looked through again, which would hold calls up for 50 ms."""
    gc.freeze()
    gc.set_threshold(YOUNG)


def sort_out() -> None:
    """Look for garbage once, through all that came after the last time; what is left stays. For a process whose objects come and go for days."""
    gc.collect()
    look_seldom()


@contextmanager
def loading() -> Iterator[None]:
    """For a block that imports: what it makes stays, and to look through all of it again and again takes a tenth of the time. It is not looked
    through afterwards either, which would also write to all that is shared with forks."""
    looks = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if looks:
            gc.enable()


@contextmanager
def looking_seldom() -> Iterator[None]:
    """For a block that serves in a process that also does something else; what that had loaded is looked through again afterwards."""
    gc.collect()
    usual = gc.get_threshold()
    look_seldom()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*usual)
