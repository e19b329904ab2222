"""The density sweep times both kernels, and shows which of them is served."""

import pytest

from synfire.base.errors import UserError
from synfire.bench import BENCHMARKS, Settings
from synfire.bench.density import DENSITIES
from synfire.engines.cpu.dense_kernels import fits_registers


@pytest.mark.skipif(not fits_registers(), reason="without AVX-512 there is one kernel")
def test_near_silence_is_served_event_driven_and_full_density_densely() -> None:
    found = BENCHMARKS["density"].measure(Settings(quick=True), lambda text: None)
    assert [row["density"] for row in found.rows] == list(DENSITIES) * 4
    assert {row["dense_share"] for row in found.rows if row["density"] <= 0.1} == {0}
    many = [row for row in found.rows if row["frames"] == 64]
    assert {row["dense_share"] for row in many if row["density"] == 1} == {1}
    assert all(row[each] > 0 for row in found.rows for each in ("event_s", "dense_s", "served_s"))
    assert found.floors == ()


def test_a_processor_with_one_kernel_has_nothing_to_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synfire.bench.density.fits_registers", lambda: False)
    with pytest.raises(UserError, match="run this benchmark on one that has"):
        BENCHMARKS["density"].measure(Settings(quick=True), lambda text: None)
