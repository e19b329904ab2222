"""What is shipped: whole, small, and with a card."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from synfire import zoo
from synfire.base.errors import PermanentError, UnknownName
from synfire.formats import read_bundle
from synfire.graph import flatten
from synfire.testing.parity import neuron_layers
from synfire.testing.zoo import FLOORS

FOLDER = Path(zoo.__file__).parent
FAMILIES = {"svgg", "sresnet", "scnn", "srnn", "sgnn", "stransformer"}
CARD = {"family", "dataset", "labels", "accuracy", "spike_rate", "steps", "command", "seed"}
LARGEST_BYTES = 16 * 2**20


def test_each_family_is_there_on_digits() -> None:
    digits = {name for name in zoo.names() if name.endswith("-digits")}
    assert digits == {f"{family}-digits" for family in FAMILIES}
    assert {zoo.load(name).metadata["family"] for name in digits} == FAMILIES


def test_every_model_is_promised_an_accuracy_or_varies_one_that_is() -> None:
    for name in zoo.names():
        assert name in FLOORS or zoo.card(name)["base"] in FLOORS, name


def test_every_promised_model_is_shipped() -> None:
    assert set(FLOORS) <= set(zoo.names()), f"not exported: {sorted(set(FLOORS) - set(zoo.names()))}"


@pytest.mark.parametrize("name", [name for name in zoo.names() if name not in FLOORS])
def test_a_variant_differs_from_its_base_in_the_head_alone(name: str) -> None:
    graphs = zoo.load(name), zoo.load(zoo.card(name)["base"])
    variant, base = ({key: graph.operator(key).content_digest() for key in graph.operators} for graph in graphs)
    assert variant.keys() == base.keys()
    assert {key for key in variant if variant[key] != base[key]} == {"head"}


def test_all_bundles_together_are_small() -> None:
    sizes = {name: sum(file.stat().st_size for file in (FOLDER / name).iterdir()) for name in zoo.names()}
    assert sum(sizes.values()) <= LARGEST_BYTES, sizes


@pytest.mark.parametrize("name", zoo.names())
def test_a_bundle_is_whole_and_says_what_it_is(name: str) -> None:
    graph = zoo.load(name)
    about = graph.metadata
    assert set(about) >= CARD
    assert about["name"] == name
    assert name.startswith(f"{about['family']}-")
    assert about["steps"] == graph.steps
    assert name in about["command"]
    (output,) = graph.output_signals().values()
    assert output.shape == (len(about["labels"]),)


@pytest.mark.parametrize("name", zoo.names())
def test_a_card_agrees_with_its_bundle(name: str) -> None:
    about, card, text = zoo.load(name).metadata, zoo.card(name), (FOLDER / name / "card.md").read_text()
    assert {key: card[key] for key in CARD} == {key: about[key] for key in CARD}
    assert text.startswith(f"# {name}\n")
    assert f"{card['accuracy']:.4f} on {card['test_samples']} samples" in text
    assert card["command"] in text


@pytest.mark.parametrize("name", zoo.names())
def test_a_card_gives_the_spike_rate_of_every_neuron_layer(name: str) -> None:
    rates = zoo.card(name)["spike_rate"]
    assert sorted(rates) == sorted(neuron_layers(flatten(zoo.load(name))))
    assert all(0 < rate < 1 for rate in rates.values()), rates


def test_the_citation_model_holds_trained_weights_and_nothing_of_the_graph() -> None:
    operators = flatten(zoo.load("sgnn-cora")).operators.values()
    sizes = {each.kind: sum(array.size for array in each.parameters().values()) for each in operators}
    assert {kind for kind, size in sizes.items() if size} == {"Linear", "LIF"}
    trained = sum(array.size for each in operators if each.kind == "Linear" for array in each.parameters().values())
    assert trained == zoo.card("sgnn-cora")["parameters"]
    assert sum(file.stat().st_size for file in (FOLDER / "sgnn-cora").iterdir()) <= 4 * trained + 8192


@pytest.mark.parametrize("name", zoo.names())
def test_no_bundle_knows_the_machine_that_made_it(name: str) -> None:
    text = "".join((FOLDER / name / file).read_text() for file in ("graph.json", "card.json", "card.md"))
    assert re.search(r"""["'`\s]/\w+/""", text) is None, "an absolute path"


def test_one_flipped_bit_of_a_shipped_weight_is_found(tmp_path: Path) -> None:
    copy = shutil.copytree(FOLDER / "scnn-digits", tmp_path / "scnn-digits")
    content = bytearray((copy / "tensors.safetensors").read_bytes())
    content[-1] ^= 1
    (copy / "tensors.safetensors").write_bytes(content)
    with pytest.raises(PermanentError, match="copy the bundle again"):
        read_bundle(copy)


def test_an_unknown_model_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownName, match=r"known: .*svgg-digits"):
        zoo.load("svgg-digit")
