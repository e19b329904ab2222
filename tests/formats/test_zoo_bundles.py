"""The shipped bundles are whole, documented, small, and recognise digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from synfire import zoo
from synfire.graph import Graph, flatten, reference

NAMES = zoo.names()
DIGITS = [name for name in NAMES if name.endswith("-digits")]


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_model_says_what_it_is(name: str) -> None:
    graph, card = zoo.load(name), zoo.card(name)
    assert graph.metadata["name"] == card["name"] == name
    for key in ("family", "dataset", "labels", "accuracy", "spike_rate", "steps", "command", "seed"):
        assert graph.metadata[key] == card[key], key
    inputs = ["features", "edges", "degrees"] if name == "sgnn-cora" else ["input"]
    assert (graph.steps, list(graph.inputs), list(graph.outputs)) == (graph.metadata["steps"], inputs, ["output"])
    assert graph.output_signals()["output"].shape == (len(graph.metadata["labels"]),)
    assert set(graph.metadata["spike_rate"]) <= set(flatten(graph).operators)
    assert all(0 < rate < 1 for rate in graph.metadata["spike_rate"].values())


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_model_is_accurate_enough_to_ship(name: str) -> None:
    family, data = name.split("-")[:2]
    floors = {"digits": 0.95, "mnist": 0.99, "nmnist": 0.92, "spoken": 0.90, "cora": 0.78}
    floor = {"srnn-digits": 0.92, "sgnn-digits": 0.92, "stransformer-mnist": 0.985}.get(
        f"{family}-{data}", floors[data]
    )
    assert zoo.load(name).metadata["accuracy"] >= (floor if name.count("-") == 1 else 0.95)


def test_one_of_each_family_knows_the_digits() -> None:
    assert {name.split("-")[0] for name in DIGITS} == {"svgg", "sresnet", "scnn", "srnn", "sgnn", "stransformer"}


def test_all_bundles_together_are_small() -> None:
    folder = Path(zoo.__file__).parent
    sizes = [file.stat().st_size for name in NAMES for file in (folder / name).iterdir()]
    assert sum(sizes) <= 16 * 2**20


@pytest.mark.slow
@pytest.mark.parametrize("name", DIGITS)
def test_a_shipped_model_recognises_digits_that_it_has_not_seen(name: str) -> None:
    assert accuracy(zoo.load(name), 60) >= zoo.load(name).metadata["accuracy"] - 0.1


def accuracy(graph: Graph, count: int) -> float:
    images, labels = zoo.held_out_digits()
    answers = reference.run(graph, {"input": images[:count, None]})["output"].argmax(1)
    return float(np.mean(answers == labels[:count]))
