from __future__ import annotations

import pytest
from planned_graphs import vgg

from synfire.base.errors import UserError
from synfire.ops import Kind, Signal
from synfire.plan import Costs, Hop, encode, memory_bytes
from synfire.plan.costs import format_bytes, format_seconds, parse_bytes


def test_sparse_spikes_go_as_a_gap_list_and_dense_ones_as_a_bitmap() -> None:
    spikes = Signal((1000,), Kind.SPIKE)
    assert encode(spikes, 0.01).encoding == "gap list"
    assert encode(spikes, 0.5) == encode(spikes, 0.9).__class__(125.0, "bitmap", 0.5)


def test_floats_are_never_packed() -> None:
    assert encode(Signal((10,), Kind.VALUE), 0.0).bytes == 40


def test_operators_in_one_stage_pay_one_entry() -> None:
    costs = Costs(operator_s={"a": 1.0, "b": 1.0}, call_s=0.1)
    assert costs.block_s(["a", "b"], 1) == pytest.approx(2.1)
    assert costs.block_s(["a", "b"], 2) == pytest.approx(1.1)


def test_no_end_of_a_hop_is_busy_for_longer_than_half_of_it() -> None:
    hop = Hop(frame_s=1e-4, work_s=9e-5, byte_s=1e-9)
    assert 2 * hop.busy_s(1000) == pytest.approx(hop.seconds(1000, same_worker=False))


def test_memory_holds_parameters_once_and_state_per_request() -> None:
    graph = vgg()
    one, two = (memory_bytes(graph, ["conv1", "lif1"], requests) for requests in (1, 2))
    assert two - one == 4 * 8 * 8 * 4


@pytest.mark.parametrize(
    ("count", "text"), [(5, "5 B"), (1100, "1.1 kB"), (100352, "100 kB"), (25_000_000, "25 MB"), (3e9, "3 GB")]
)
def test_bytes_are_written_short(count: float, text: str) -> None:
    assert format_bytes(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(2.0, "2 s"), (0.00131, "1.31 ms"), (25e-6, "25 µs"), (0.0, "0 µs")])
def test_seconds_are_written_short(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(("text", "count"), [("512MB", 512_000_000), ("2 GiB", 2**31), ("1000", 1000), ("1.5kB", 1500)])
def test_sizes_are_read(text: str, count: int) -> None:
    assert parse_bytes(text) == count


def test_a_size_that_is_none_is_refused_with_an_example() -> None:
    with pytest.raises(UserError, match="write it like 512MB"):
        parse_bytes("lots")
