"""The roofline, and how much work operators have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synfire.base.errors import TemporaryError, UserError
from synfire.bench import BENCHMARKS, Settings
from synfire.bench.limit import _require_undisturbed, hottest_operators
from synfire.bench.roofline import Level, Roofs, cache_sizes
from synfire.bench.work import Work, work
from synfire.graph import Graph, Synapse
from synfire.ops import Clock, Kind, Operator, Signal
from synfire.ops.constant_current import ConstantCurrent
from synfire.ops.conv1d import Conv1d
from synfire.ops.conv2d import Conv2d
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear

ROOFS = Roofs(100.0, (Level("L1", 100, 800.0), Level("L2", 1000, 400.0), Level("memory", 5000, 40.0)))


def alone(operator: Operator, shape: tuple[int, ...], kind: Kind = Kind.SPIKE) -> Graph:
    return Graph({"o": operator}, (Synapse("x", "o"),), {"x": Signal(shape, kind, Clock.STEP)}, {"y": "o"})


def linear(outputs: int, inputs: int) -> Linear:
    return Linear(np.ones((outputs, inputs), np.float32), np.zeros(outputs, np.float32))


def by_hand(operator: Conv2d | Conv1d, block: np.ndarray) -> int:
    """How many outputs each active input changes, one after the other; weights are 1 and biases 0."""
    count = 0
    for place in zip(*np.nonzero(block), strict=True):
        one = np.zeros((1, *block.shape[2:]), np.float32)
        one[(0, *place[2:])] = 1
        count += int(np.count_nonzero(operator.apply(one)))
    return count


def test_a_linear_synapse_adds_one_weight_for_each_active_input_and_output() -> None:
    spikes = np.zeros((3, 2, 5), np.uint8)
    spikes[0, 0, :2] = spikes[2, 1, 4] = 1
    (found,) = work(alone(linear(7, 5), (5,)), [("o",)], {"x": spikes}, 3)
    assert found.operations == 3 * 7
    assert found.multiplications == 0
    assert found.read_bytes == 4 * 3 * 7
    sums = 2 * 4 * 2 * 7  # read and written, 4 bytes, by two samples' steps that have any spike, 7 outputs
    inputs, outputs = spikes.size, 4 * 6 * 7
    assert found.moved_bytes == found.read_bytes + sums + inputs + outputs


def test_a_linear_synapse_reads_a_weight_once_for_frames_that_are_summed_together() -> None:
    spikes = np.ones((7, 2, 5), np.uint8)
    (found,) = work(alone(linear(7, 5), (5,)), [("o",)], {"x": spikes}, 7)
    assert found.operations == 14 * 5 * 7
    assert found.read_bytes == 4 * 2 * 5 * 7  # twelve frames, and two


def test_inputs_that_are_no_spikes_are_multiplied() -> None:
    (found,) = work(alone(linear(7, 5), (5,), Kind.VALUE), [("o",)], {"x": np.ones((1, 1, 5), np.float32)}, 1)
    assert found.multiplications == found.operations == 35


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 2**16), st.integers(1, 3), st.integers(1, 2), st.integers(0, 2), st.integers(1, 2), st.sampled_from([1, 2])
)  # fmt: skip
def test_a_convolutions_operations_are_those_counted_by_hand(
    seed: int, kernel: int, stride: int, padding: int, dilation: int, groups: int
) -> None:
    rng = np.random.default_rng(seed)
    operator = Conv2d(
        np.ones((4, 2 // groups, kernel, kernel), np.float32), np.zeros(4, np.float32),
        (stride, stride), (padding,) * 4, (dilation, dilation), groups,
    )  # fmt: skip
    block = (rng.random((1, 2, 2, 7, 6)) < 0.2).astype(np.uint8)
    (found,) = work(alone(operator, (2, 7, 6)), [("o",)], {"x": block}, 1)
    assert found.operations == by_hand(operator, block)


def test_a_one_dimensional_convolutions_operations_are_those_counted_by_hand() -> None:
    operator = Conv1d(np.ones((3, 2, 3), np.float32), np.zeros(3, np.float32), 2, (1, 1))
    block = (np.random.default_rng(0).random((2, 1, 2, 9)) < 0.4).astype(np.uint8)
    (found,) = work(alone(operator, (2, 9)), [("o",)], {"x": block}, 2)
    assert found.operations == by_hand(operator, block) > 0


def test_what_stays_the_same_is_computed_once() -> None:
    graph = Graph(
        {"encode": ConstantCurrent(steps=4), "l": linear(3, 5), "n": LIF()},
        (Synapse("x", "encode"), Synapse("encode", "l"), Synapse("l", "n")),
        {"x": Signal((5,), Kind.VALUE, Clock.REQUEST)},
        {"y": "n"},
    )
    (found,) = work(graph, [("l", "n")], {"x": np.ones((2, 5), np.float32)}, 4)
    assert found.operations == 2 * 5 * 3


def test_the_slowest_roof_binds() -> None:
    assert max(Work(operations=300).least_s(ROOFS).items(), key=lambda each: each[1]) == ("adds", 3.0)
    assert Work(10, 0, 4000, 40, 50).least_s(ROOFS) == {"adds": 0.1, "L1": 5.0}
    assert Work(10, 0, 40, 400, 500).least_s(ROOFS) == {"adds": 0.1, "L1": 0.05, "L2": 1.0}
    assert ROOFS.holding(10**9).name == "memory"


def test_an_operator_is_as_hot_as_all_its_rows() -> None:
    def row(model: str, digest: str, seconds: float, least: float) -> dict[str, object]:
        about = {"model": model, "operators": "o", "digests": [digest], "fraction": least / seconds}
        return {**about, "median_s": seconds, "least_s": least}

    others = [row(model, model, seconds, 1.0) for model, seconds in (("c", 3.5), ("d", 2.0), ("e", 1.0))]
    rest = {"model": "a", "operators": "the rest", "median_s": 99.0}
    rows = [row("a", "1", 1.0, 0.5), *others, rest, row("b", "1", 3.0, 0.5)]
    assert hottest_operators(rows) == {"a.o": 0.25, "c.o": 1 / 3.5, "d.o": 0.5}


def test_roofs_that_an_operator_breaks_through_are_not_believed() -> None:
    rows = [{"model": "m", "operators": "o", "fraction": 0.9}, {"model": "m", "operators": "the rest"}]
    _require_undisturbed(rows)
    with pytest.raises(TemporaryError, match="when the machine is quiet"):
        _require_undisturbed([*rows, {"model": "m", "operators": "p", "fraction": 1.2}])


def test_caches_are_those_that_the_system_tells(tmp_path: Path) -> None:
    told = [("1", "Data", "48K"), ("1", "Instruction", "64K"), ("2", "Unified", "2048K"), ("3", "Unified", "491520K")]
    for k, each in enumerate(told):
        (tmp_path / f"index{k}").mkdir()
        for name, text in zip(("level", "type", "size"), each, strict=True):
            (tmp_path / f"index{k}" / name).write_text(f"{text}\n")
    assert cache_sizes(tmp_path) == [("L1", 48 << 10), ("L2", 2 << 20), ("L3", 480 << 20)]


def test_no_caches_no_roofline(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run this benchmark on Linux"):
        cache_sizes(tmp_path)


@pytest.mark.slow
def test_limit_judges_every_operator_at_every_batch() -> None:
    found = BENCHMARKS["limit"].measure(Settings(quick=True), lambda text: None)
    operators = {row["operators"] for row in found.rows}
    assert {row["batch"] for row in found.rows if row["operators"] == "head"} == {1, 16}
    assert {"features.3 + features.5", "classifier.0 + classifier.2", "head", "the rest"} <= operators
    assert all(0 < row["fraction"] < 1.2 for row in found.rows if row.get("operations"))
    assert found.settings["roofs"]["additions_s"] > 1e9
    assert found.floors == ()
