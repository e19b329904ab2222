"""The benchmark of language engines, as a smoke run."""

from __future__ import annotations

from pathlib import Path

import pytest

from synfire.base.errors import UserError
from synfire.bench import BENCHMARKS, Settings
from synfire.bench.engines import MODEL, floors


@pytest.mark.slow
def test_a_smoke_run_measures_every_part_and_loses_nothing() -> None:
    pytest.importorskip("xllamacpp", reason="needs the extra `llama`")
    found = BENCHMARKS["engines"].measure(Settings(quick=True), lambda _: None)
    assert not found.floors
    assert [row["streams"] for row in found.rows if "streams" in row] == [1, 8]
    assert all(row["ratio"] > 0 for row in found.rows if "ratio" in row)
    (kills,) = (row for row in found.rows if "kills" in row)
    assert (kills["lost"], kills["garbled"]) == (0, 0)
    (memory,) = (row for row in found.rows if "unload_ratio" in row)
    assert (memory["listed"], memory["loaded_bytes"] > 0) == (200, True)
    assert 0 < memory["idle_gateway_bytes"] < memory["idle_bytes"]


def test_floors_are_those_of_the_issue() -> None:
    rows = [
        {"streams": 1, "ratio": 0.98, "first_token_added_s": 0.004},
        {"streams": 8, "ratio": 0.96},
        {"load_s": 1.0, "unload_ratio": 0.99, "idle_gateway_bytes": 151e6},
        {"lost": 0, "garbled": 1},
    ]
    assert {each.name: each.holds for each in floors(rows)} == {
        "stream_ratio": False,
        "first_token_added_ms": True,
        "stream_lost": True,
        "stream_garbled": False,
        "idle_memory_mb": False,
        "load_s": True,
        "unload_ratio": True,
    }


def test_a_model_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(MODEL, str(tmp_path / "none.gguf"))
    with pytest.raises(UserError, match="which is no file"):
        BENCHMARKS["engines"].measure(Settings(quick=True), lambda _: None)
