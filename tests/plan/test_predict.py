from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planned_graphs import graphs, vgg

from synfire.graph import Graph
from synfire.plan import Costs, Hop, atoms, cut, predict
from synfire.plan.costs import MOST_TOGETHER, PIECE_S
from synfire.worker.hands import WORTH_S
from synfire.worker.settings import Settings

FREE = Hop(frame_s=0.0, work_s=0.0, byte_s=0.0, local_s=0.0, local_byte_s=0.0, request_s=0.0, request_byte_s=0.0)


def test_one_stage_takes_the_sum_of_its_operators() -> None:
    graph = vgg()
    costs = Costs(operator_s=dict.fromkeys(graph.order(), 0.5), steps=4, hop=FREE)
    found = predict(graph, cut(graph, "model"), ["w"], costs, 4)
    assert found.latency_s == pytest.approx(5.0)
    assert found.requests_s == pytest.approx(0.2)


def test_two_equal_stages_overlap_all_but_one_frame() -> None:
    graph = vgg()
    costs = Costs(operator_s={"conv1": 4.0, "conv2": 4.0}, steps=4, hop=FREE)
    groups = (graph.order()[:4], graph.order()[4:])
    assert predict(graph, groups, ["a", "b"], costs, 1).latency_s == pytest.approx(5.0)
    assert predict(graph, groups, ["a", "b"], costs, 4).latency_s == pytest.approx(8.0)


def test_stages_of_one_worker_do_not_overlap() -> None:
    graph = vgg()
    costs = Costs(operator_s={"conv1": 4.0, "conv2": 4.0}, steps=4, hop=FREE)
    groups = (graph.order()[:4], graph.order()[4:])
    assert predict(graph, groups, ["a", "a"], costs, 1).latency_s == pytest.approx(8.0)


def test_every_frame_pays_for_entering_a_program() -> None:
    graph = vgg()
    costs = Costs(operator_s={"conv1": 1.0}, call_s=0.25, steps=4, hop=FREE)
    groups = cut(graph, "model")
    whole, single = (predict(graph, groups, ["w"], costs, size).latency_s for size in (4, 1))
    assert single - whole == pytest.approx(3 * 0.25)


def latency_s(hop: Hop, groups: tuple[tuple[str, ...], ...], workers: list[str], frame_steps: int = 1) -> float:
    """Of operators that take no time."""
    return predict(vgg(), groups, workers, Costs(steps=4, hop=hop), frame_steps).latency_s


HALVES = (vgg().order()[:2], vgg().order()[2:])


def test_hops_between_workers_are_paid_by_the_byte() -> None:
    hop = msgspec.structs.replace(FREE, byte_s=1.0)
    assert latency_s(hop, HALVES, ["a", "b"], 4) == pytest.approx(4 * 4 * 8 * 8 * 4)  # four steps of conv1's floats


def test_inputs_are_paid_by_the_byte_at_the_gateway() -> None:
    hop = msgspec.structs.replace(FREE, request_s=1.0, request_byte_s=1.0)
    assert latency_s(hop, HALVES, ["a", "b"]) == pytest.approx(1 + 64 * 4)


def test_a_request_pays_the_gateway_once_and_each_hop_once() -> None:
    hop = msgspec.structs.replace(FREE, request_s=1.0, frame_s=0.25, local_s=0.01)
    assert latency_s(hop, (vgg().order(),), ["a"], 4) == pytest.approx(1.0)
    assert latency_s(hop, HALVES, ["a", "b"], 4) == pytest.approx(1.25)
    assert latency_s(hop, HALVES, ["a", "a"], 4) == pytest.approx(1.01)


def test_waiting_for_a_frame_keeps_nobody_busy() -> None:
    waiting, working = (msgspec.structs.replace(FREE, frame_s=1.0, work_s=seconds) for seconds in (0.0, 0.5))
    assert latency_s(waiting, HALVES, ["a", "b"]) == pytest.approx(1.0)
    assert latency_s(working, HALVES, ["a", "b"]) == pytest.approx(1.0 + 3 * 1.0)  # it sends an answer a frame, too
    found = predict(vgg(), HALVES, ["a", "b"], Costs(steps=4, hop=working), 1)
    assert found.requests_s == pytest.approx(1 / (4 * 1.0))


@given(graphs(), st.integers(1, 3), st.integers(1, 6))
def test_a_request_takes_at_least_its_slowest_stage_and_at_most_all_of_them(
    graph: Graph, workers: int, frame_steps: int
) -> None:
    groups = atoms(graph)
    placed = [f"w{i % workers}" for i in range(len(groups))]
    costs = Costs(operator_s=dict.fromkeys(graph.order(), 1.0), steps=6, hop=FREE)
    times = [costs.block_s(group, 1) for group in groups]
    found = predict(graph, groups, placed, costs, frame_steps)
    assert max(times) - 1e-9 <= found.latency_s <= sum(times) + 1e-9


@pytest.mark.parametrize(("calls", "at_a_time"), [(1, 1), (2, 2), (4, 4)])
def test_threads_that_compute_pieces_of_a_batch_allow_more_requests_and_no_less_latency(
    calls: int, at_a_time: int
) -> None:
    graph = vgg()
    costs = Costs(operator_s=dict.fromkeys(graph.order(), 0.5), steps=4, threads=calls, calls=calls, hop=FREE)
    found = predict(graph, cut(graph, "model"), ["w"], costs, 4)
    assert found.latency_s == pytest.approx(5.0)
    assert found.requests_s == pytest.approx(0.2 * at_a_time)


def test_no_more_threads_compute_than_a_batch_is_worth() -> None:
    assert [Costs(calls=4).at_a_time(seconds) for seconds in (0.0, 1e-6, 8e-6, 16e-6, 24e-6, 1.0)] == [1, 1, 1, 2, 3, 4]


def test_the_planner_knows_a_piece_of_work_as_workers_do() -> None:
    assert (Settings.max_batch, WORTH_S) == (MOST_TOGETHER, PIECE_S)
