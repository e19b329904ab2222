"""What all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from synfire.base import paths
from synfire.base.log import LOGGER

# What is measured about a machine is kept from test to test, also by those with a SYNFIRE_HOME of their own: measuring starts workers.
os.environ.setdefault("SYNFIRE_CACHE", str(paths.cache().absolute()))

settings.register_profile("synfire", deadline=None)  # a busy machine is no failure
settings.load_profile("synfire")


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """A command line that ran in this process has set up the log for itself; the next test finds it as it was."""
    before = LOGGER.handlers[:], LOGGER.propagate, LOGGER.level
    yield
    LOGGER.handlers[:], LOGGER.propagate, level = before
    LOGGER.setLevel(level)
