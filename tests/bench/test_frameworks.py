"""The floors of `synfire bench frameworks` are about the fastest of the others."""

from __future__ import annotations

from synfire.bench.frameworks import fastest


def test_the_fastest_of_the_others_counts_with_its_best_number_of_threads() -> None:
    def row(framework: str, threads: str, speedup: float, batch: int = 1) -> dict[str, object]:
        return {"model": "m", "batch": batch, "framework": framework, "threads": threads, "speedup": speedup}

    rows = [
        row("synfire", "", 1.0),
        row("spikingjelly", "1", 4.0),
        row("spikingjelly", "2", 3.0),
        row("snntorch", "1", 9.0),
        row("synfire", "", 1.0, batch=16),
        row("spikingjelly", "1", 2.5, batch=16),
    ]
    assert fastest(rows) == {("m", 1): 3.0, ("m", 16): 2.5}
