"""Every shipped model reaches the accuracy that its card states, on data that it was not trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from synfire import zoo
from synfire.base.errors import UnknownName, UserError
from synfire.graph.passes import simplify
from synfire.ops import Array
from synfire.testing.layerwise import observed
from synfire.testing.parity import neuron_layers
from synfire.testing.zoo import FLOORS, answers, held_out

LARGE = 1000
"""Test sets with more samples are drawn from in the fast tests, and taken whole in the slow ones."""

DRAWN = 500


def models(large: bool) -> list[str]:
    return [name for name in zoo.names() if (zoo.card(name)["test_samples"] > LARGE) is large]


def data(name: str, count: int | None = None) -> tuple[Array, Array]:
    try:
        return held_out(zoo.card(name)["dataset"], count)
    except UnknownName:
        raise
    except UserError as error:
        pytest.skip(str(error))


def right(name: str, requests: Array, labels: Array) -> int:
    """How many held-out samples the model, as it is served, puts in their class."""
    graph = simplify(zoo.load(name))
    (output,) = graph.outputs
    return int((answers(graph, requests)[output].argmax(-1) == labels).sum())


def require_promised(name: str, found: int, samples: int) -> None:
    """The card counts what SpikingJelly got right, with synfire's own spikes where an encoder is random: so does synfire,
    unless one sample hangs on a rounding."""
    card = zoo.card(name)
    assert samples == card["test_samples"]
    assert abs(found - round(card["accuracy"] * samples)) <= 1
    assert found / samples >= FLOORS.get(name, 0.0)


@pytest.mark.parametrize("name", models(large=False))
def test_a_model_reaches_its_accuracy(name: str) -> None:
    requests, labels = data(name)
    require_promised(name, right(name, requests, labels), len(labels))


@pytest.mark.slow
@pytest.mark.parametrize("name", models(large=True))
def test_a_model_reaches_its_accuracy_on_the_whole_of_a_large_test_set(name: str) -> None:
    requests, labels = data(name)
    require_promised(name, right(name, requests, labels), len(labels))


@pytest.mark.parametrize("name", models(large=True))
def test_a_model_reaches_its_accuracy_on_a_part_of_a_large_test_set(name: str) -> None:
    requests, labels = data(name, DRAWN)
    wanted = zoo.card(name)["accuracy"]
    chance = (wanted * (1 - wanted) / DRAWN) ** 0.5  # of one standard deviation, from which samples were drawn
    assert len(labels) == DRAWN
    assert abs(right(name, requests, labels) / DRAWN - wanted) <= 3 * chance


@pytest.mark.parametrize("name", [name for name in models(large=False) if name.endswith("-digits")])
def test_layers_spike_as_often_as_the_card_says(name: str) -> None:
    graph = observed(simplify(zoo.load(name)))
    emitted = answers(graph, data(name)[0])
    random = zoo.card(name)["encoding"] == "bernoulli"  # the card's rates then are of torch's random spikes
    for layer in neuron_layers(graph):
        assert emitted[layer].mean() == pytest.approx(zoo.card(name)["spike_rate"][layer], rel=0.05 if random else 1e-3)


def test_a_model_with_a_random_encoder_answers_the_same_again() -> None:
    graph = simplify(zoo.load("sgnn-digits"))
    requests, _ = data("sgnn-digits", 20)
    once, again, alone = answers(graph, requests), answers(graph, requests), answers(graph, requests, batch=1)
    for output in once:
        assert np.array_equal(once[output], again[output])
        assert np.array_equal(once[output], alone[output])


def test_held_out_data_of_an_unknown_set_is_refused() -> None:
    with pytest.raises(UnknownName, match=r"known: .*digits"):
        held_out("imagenet")


def test_data_that_is_not_at_hand_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNFIRE_DATA", str(tmp_path))
    with pytest.raises(UserError, match=r"no mnist/mnist.npz in .*docs/data.md"):
        held_out("mnist")
