"""The codec's kernels are compiled before the first test is timed."""

from __future__ import annotations

import pytest

from synfire.wire import gaps


@pytest.fixture(scope="session", autouse=True)
def _compiled() -> None:
    gaps.warm()
