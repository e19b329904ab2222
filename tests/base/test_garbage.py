"""When Python looks for garbage."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import suppress

import pytest

from synfire.base import garbage


class Knot:
    """Refers to itself, so that only the collector ends it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def usual() -> Iterator[None]:
    """What other tests find afterwards."""
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


def test_what_is_garbage_goes_and_what_is_left_is_not_looked_through_again() -> None:
    gone, kept = weakref.ref(Knot()), Knot()
    garbage.sort_out()
    assert gone() is None
    assert gc.get_freeze_count() > 1000
    assert not any(each is kept for each in gc.get_objects())
    assert gc.get_threshold()[0] == garbage.YOUNG


def test_a_block_that_looks_seldom_leaves_all_as_it_was() -> None:
    before = gc.get_threshold()
    with garbage.looking_seldom():
        assert gc.get_freeze_count() > 1000
    assert (gc.get_freeze_count(), gc.get_threshold()) == (0, before)


@pytest.mark.parametrize("looks", [True, False])
def test_nothing_is_looked_for_while_modules_are_loaded(looks: bool) -> None:
    if not looks:
        gc.disable()
    try:
        with suppress(ImportError), garbage.loading():
            assert not gc.isenabled()
            raise ImportError
        assert gc.isenabled() == looks
        assert gc.get_freeze_count() > 1000
    finally:
        gc.enable()
