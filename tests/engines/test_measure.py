from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from synfire.engines.engine import ENGINES
from synfire.engines.measure import measure, measured
from synfire.graph import Graph, Synapse
from synfire.ops import Clock, Kind, Signal
from synfire.ops.constant_current import ConstantCurrent
from synfire.ops.image_decode import ImageDecode
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.ops.mean_rate import MeanRate
from synfire.zoo import sample


def graph(weight: float = 1.0) -> Graph:
    operators = {
        "encoder": ConstantCurrent(4),
        "fc": Linear(np.full((5, 3), weight, np.float32), np.zeros(5, np.float32)),
        "lif": LIF(),
        "rate": MeanRate(),
    }
    synapses = tuple(Synapse(a, b) for a, b in pairwise(["x", *operators]))
    return Graph(operators, synapses, {"x": Signal((3,), Kind.VALUE, Clock.REQUEST)}, {"y": "rate"})


def test_every_operator_gets_its_time() -> None:
    costs = measure(graph(), ENGINES["cpu"](), sample(graph()))
    assert set(costs.operator_s) == set(graph().operators)
    assert all(seconds > 0 for seconds in costs.operator_s.values())
    assert 0 <= costs.call_s <= min(costs.operator_s.values())
    assert costs.steps == 4


def test_densities_are_those_of_the_sample() -> None:
    always = measure(graph(100.0), ENGINES["cpu"](), sample(graph()))
    never = measure(graph(0.0), ENGINES["cpu"](), sample(graph()))
    assert always.density["lif"] == 1.0
    assert never.density["lif"] == 0.0


def test_a_files_size_is_measured() -> None:
    decoding = Graph(
        {"decode": ImageDecode(1, 8, 8)}, (Synapse("file", "decode"),),
        {"file": Signal((), Kind.BYTES, Clock.REQUEST)}, {"y": "decode"},
    )  # fmt: skip
    inputs = sample(decoding)
    assert measure(decoding, ENGINES["cpu"](), inputs).payload == {"file": len(inputs["file"][0])}


def test_what_was_measured_is_remembered_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNFIRE_CACHE", str(tmp_path))
    engine = ENGINES["cpu"]()
    first = measured(graph(), engine, sample(graph()))
    assert measured(graph(), engine, sample(graph())) == first
    measured(graph(2.0), engine, sample(graph()))
    assert len(list((tmp_path / "costs").iterdir())) == 2


def test_a_damaged_cache_is_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNFIRE_CACHE", str(tmp_path))
    engine = ENGINES["cpu"]()
    measured(graph(), engine, sample(graph()))
    (file,) = (tmp_path / "costs").iterdir()
    file.write_text("{")
    assert measured(graph(), engine, sample(graph())).steps == 4
    assert file.read_text() != "{"


def test_a_cache_that_cannot_be_written_costs_time_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SYNFIRE_CACHE", str(tmp_path / "file"))
    assert measured(graph(), ENGINES["cpu"](), sample(graph())).steps == 4
