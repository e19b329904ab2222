"""The hop benchmark carries the same frames along every link, between two processes."""

from __future__ import annotations

import contextlib

import pytest

from synfire.base.errors import Bug, PermanentError
from synfire.bench import BENCHMARKS, Settings
from synfire.bench import hop as benchmark
from synfire.bench.bare import RING, SOCKET, Bare
from synfire.bench.hop import DEFAULT, DENSITIES, WARM_UP, Way
from synfire.wire.links import MemoryLink
from synfire.wire.messages import Cancel
from synfire.wire.stream import Packet


def test_every_link_carries_every_density() -> None:
    found = BENCHMARKS["hop"].measure(Settings(quick=True), lambda what: None)
    links = ["memory", DEFAULT, "shared memory", "unix socket", "tcp", SOCKET, RING]
    assert [(row["link"], row["density"]) for row in found.rows] == [
        (link, each) for each in DENSITIES for link in links
    ]
    assert all(0 < row["q1_s"] <= row["median_s"] <= row["q3_s"] for row in found.rows)
    assert all(1024 <= row["encoded_bytes"] < 1300 for row in found.rows if row["link"] not in ("memory", "tcp"))
    assert not found.floors, "a quick run states none"


def test_the_floors_take_the_worst_density_of_16_kilobytes_on_the_default_link() -> None:
    rows = [
        {"link": link, "frame_bytes": size, "rest_s": rest, "median_s": median}
        for link, size, rest, median in [
            (DEFAULT, 1 << 14, 0.0, 1.0),
            (DEFAULT, 1 << 14, 0.0, 3.0),
            (DEFAULT, 1 << 14, 0.002, 9.0),
            (DEFAULT, 1 << 18, 0.0, 9.0),
            ("tcp", 1 << 14, 0.0, 9.0),
        ]
    ]
    assert benchmark._worst(rows, "median_s") == 3.0


def test_a_frame_may_come_after_a_rest() -> None:
    (row,) = benchmark._measure({"memory": Way(*MemoryLink.pair("near", "far"))}, 64, 0.5, 1, 0, 1e-4)
    assert row["rest_s"] == 1e-4
    assert row["median_s"] < 1e-4, "the rest does not count"


def test_a_link_that_changes_bits_ends_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "checksum", lambda packet: 1)
    with pytest.raises(Bug, match="memory link changed a frame"):
        benchmark._measure({"memory": Way(*MemoryLink.pair("near", "far"))}, 64, 0.5, 1, 0)


@pytest.mark.parametrize("through_ring", [False, True])
def test_a_bare_way_carries_the_bits_and_one_that_changes_them_ends_the_benchmark(through_ring: bool) -> None:
    class Damaging(Bare):
        def _send(self, bits: memoryview, check: bool) -> None:
            super()._send(memoryview(bytes(len(bits))), check)

    with contextlib.closing(Bare(through_ring, WARM_UP)) as way:
        (row,) = benchmark._measure({"bare": way}, 1 << 18, 0.5, 1, 0)
    assert row["encoded_bytes"] == 1 << 18
    assert row["median_s"] > 0
    with (
        contextlib.closing(Damaging(through_ring, WARM_UP)) as way,
        pytest.raises(Bug, match="bare link changed a frame"),
    ):
        benchmark._measure({"bare": way}, 64, 0.5, 1, 0)


@pytest.mark.parametrize("through_ring", [False, True])
def test_a_bare_way_whose_far_end_is_gone_says_so(through_ring: bool) -> None:
    way = Bare(through_ring, WARM_UP)
    way._process.kill()
    way._process.wait()
    with pytest.raises(PermanentError, match="far end of the benchmark ended"):
        benchmark._measure({"bare": way}, 64, 0.5, 1, 0)
    way.close()


def test_only_frames_are_answered() -> None:
    with pytest.raises(Bug, match="Cancel came"):
        benchmark.checksum(Packet(Cancel("r")))
