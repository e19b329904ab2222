"""The benchmark of the controller, with few objects."""

from __future__ import annotations

import pytest

from synfire.bench import BENCHMARKS, Settings


@pytest.mark.slow
def test_a_quick_run_has_every_number_and_states_no_floor() -> None:
    found = BENCHMARKS["kubernetes"].measure(Settings(quick=True), lambda text: None)
    (row,) = found.rows
    assert row["objects"] > row["models"] * 20
    assert 0 < row["event_p50_s"] <= row["event_max_s"] < 60
    assert row["moved_max_s"] > 0
    assert row["memory_bytes"] > 2**20
    assert found.floors == ()
