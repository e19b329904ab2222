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

_OWN = "_hypothesis_internal_use_settings"
"""Where hypothesis keeps a test's settings; there is no public way to change them from outside."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--examples",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="try this share of each property's examples; at least five",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Properties are tried on all of their examples in `make test`, and on a share of them in `make check`."""
    share = config.getoption("--examples")
    tests = {getattr(item, "obj", None) for item in items} if share < 1 else set()
    for test in {getattr(each, "__func__", each) for each in tests}:
        own = getattr(test, _OWN, None)
        if own is not None:
            fewer = min(own.max_examples, max(5, round(share * own.max_examples)))
            setattr(test, _OWN, settings(own, max_examples=fewer))


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """A command line that ran in this process has set up the log for itself; the next test finds it as it was."""
    before = LOGGER.handlers[:], LOGGER.propagate, LOGGER.level
    yield
    LOGGER.handlers[:], LOGGER.propagate, level = before
    LOGGER.setLevel(level)
