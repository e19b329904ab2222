"""`synfire quantize` makes a model of fewer bits, and says how small it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from synfire.testing.language_models import write_tiny_language_model


def test_a_model_is_made_of_fewer_bits(run: Callable, tmp_path: Path) -> None:
    file = write_tiny_language_model(tmp_path / "tiny.gguf")
    made = run("quantize", str(file), "tiny:q4", "--to", "q4_0", "--json").json
    assert (made["model"], made["bytes"] < made["bytes_before"]) == ("tiny:q4", True)
    assert "made tiny:latest, as Q8_0: " in run("quantize", str(file), "tiny").out
    (listed,) = [each for each in run("list", "--json").json["models"] if each["name"] == "tiny:q4"]
    assert (listed["precision"], listed["source"]) == ("Q4_0", "quantize")
    again = run("quantize", "tiny:q4", "tiny:q8")
    assert (again.code, "tiny:q4 has weights of few bits already (Q4_0, Q8_0)" in again.err) == (2, True)
