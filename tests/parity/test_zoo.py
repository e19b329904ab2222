"""Every shipped model, as the engine serves it, equals the network that was trained: spike for spike, on held-out data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.parity
pytest.importorskip("spikingjelly", reason="needs the parity environment: torch and SpikingJelly")

import torch  # noqa: E402
from spikingjelly.activation_based import layer  # noqa: E402

from synfire import zoo  # noqa: E402
from synfire.base.errors import UserError  # noqa: E402
from synfire.engines.cpu.engine import CpuEngine  # noqa: E402
from synfire.formats.spikingjelly import module_state  # noqa: E402
from synfire.graph import Graph  # noqa: E402
from synfire.graph.passes import remove_dead, simplify  # noqa: E402
from synfire.ops import Array, Encoder  # noqa: E402
from synfire.testing.layerwise import currents, observed, rounding_bounds, run_forced  # noqa: E402
from synfire.testing.parity import LIMIT, membrane_before_firing, neuron_layers  # noqa: E402
from synfire.testing.spikingjelly import record  # noqa: E402
from synfire.testing.zoo import answers, held_out, inputs_of  # noqa: E402

if not hasattr(layer, "SpikingSelfAttention"):
    pytest.skip("the zoo was trained with SpikingJelly 2.0", allow_module_level=True)

SAMPLES = {"stransformer-mnist": 1000, "svgg-mnist-parity": 1000, "svgg-mnist-size": 1000}
"""Held-out samples of the models for which all would take many minutes. Else all are taken: one rounding flip is followed by
some hundred spikes in a deep net, and happens in one sample of a thousand, so that a rate of few samples is chance."""

BATCH = 40
PREPARED = ("digit-graph", "nmnist", "spoken", "cora")
"""Data sets whose requests a front end turns into what the network sees."""

Layers = dict[str, Array]
"""By neuron layer (and encoder): `(steps, batch, *shape)`."""


@dataclass
class Source:
    """What SpikingJelly's own layers did with one batch: in, membrane before firing, threshold, out; and the logits."""

    received: Layers
    emitted: Layers
    membrane: Layers
    threshold: Layers
    logits: Array


@dataclass
class Count:
    """How the spikes of a model compare. Flips that follow from an earlier one in the same neuron count as flips too."""

    samples: int = 0
    places: int = 0
    spikes: int = 0
    forced: int = 0
    end_to_end: int = 0
    followers: int = 0
    itself: int = 0
    """Spikes in which SpikingJelly differs from itself when torch computes without oneDNN, so in another order."""
    nearest: float = np.inf
    """The smallest |H − θ| of the source's membranes that is not 0, flipped or not."""
    furthest: float = 0.0
    """The largest |H − θ| at a flip."""
    bound: float = 0.0
    """The rounding bound at that flip."""
    error: float = 0.0
    """The largest |H_source − H_ours| among all neurons and steps of the first batch."""
    share: float = 0.0
    """The largest part that it is of its rounding bound."""
    mistakes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        at_flip = f"{self.furthest:.1e} of {self.bound:.1e}" if self.forced else "-"
        return (
            f"{self.samples:7d} {self.places:10d} {self.spikes:9d} {self.forced:6d} {self.followers:6d} "
            f"{self.end_to_end:6d} {self.itself:6d}   {self.nearest:.1e}   {self.error:.1e}  {self.share:5.3f}   {at_flip}"
        )


LEGEND = """

forced: flips of layers fed the source's own spikes; after: of these, behind an earlier flip of the same neuron
e2e: flips end to end; itself: those of SpikingJelly against SpikingJelly without oneDNN, end to end
|H−θ|: the source's membrane nearest to its threshold; |ΔH|: the largest difference of a membrane, layers fed the same,
in the first batch, and what part of its rounding bound any such difference is; last, |H−θ| of the furthest flip of its bound
model                samples     places    spikes forced  after    e2e itself   |H−θ|     |ΔH|     part    flip"""


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Iterator[dict[str, Count]]:
    """The counts by model, printed when all are there."""
    rows: dict[str, Count] = {}
    yield rows
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(LEGEND)
        for name, count in rows.items():
            print(f"{name:20} {count}")


@pytest.mark.timeout(1800)
@pytest.mark.filterwarnings("ignore:TF32")
@pytest.mark.parametrize("name", zoo.names())
def test_a_shipped_model_equals_the_trained_network(name: str, table: dict[str, Count]) -> None:
    stored = zoo.load(name)
    requests, labels = data_of(name)
    count, wrong = Count(), []
    for at in range(0, len(labels), BATCH):
        wrong += compare_batch(stored, trained(name, stored), requests[at : at + BATCH], count)
    table[name] = count
    assert count.mistakes == []
    assert wrong == [], f"predictions differ: {wrong}"
    assert count.forced <= LIMIT * count.spikes, str(count)
    assert count.end_to_end <= LIMIT * count.spikes, str(count)


@pytest.mark.filterwarnings("ignore:TF32")
def test_one_weight_that_is_off_by_a_thousandth_is_found() -> None:
    stored, count = zoo.load("svgg-digits"), Count()
    net, requests = trained("svgg-digits", stored), data_of("svgg-digits")[0][:BATCH]
    weight = stored.operator("features.3").parameters()["weight"].copy()
    weight.flat[np.abs(weight).argmax()] *= 1.001
    changed = replace(stored.operator("features.3"), weight=weight)
    compare_batch(replace(stored, operators={**stored.operators, "features.3": changed}), net, requests, count)
    assert [mistake.partition(":")[0] for mistake in count.mistakes][:1] == ["features.5"]


@pytest.mark.parametrize("name", [name for name in zoo.names() if zoo.load(name).metadata["dataset"] in PREPARED])
def test_a_front_end_prepares_a_request_as_the_training_did(name: str) -> None:
    graph = simplify(zoo.load(name))
    requests, labels = data_of(name)
    import data

    test = data.DATASETS[graph.metadata["dataset"]]().test
    assert np.array_equal(test.y.numpy(), labels)
    prepared = before_encoder(graph, requests)
    assert prepared.any()
    assert np.array_equal(prepared, test.x.numpy()), f"off by {np.abs(prepared - test.x.numpy()).max():.1e}"


def before_encoder(graph: Graph, requests: Array) -> Array:
    """What the graph's encoder reads, in the cpu engine."""
    front = replace(graph, outputs={"prepared": graph.arriving(encoder_of(graph))[0].source})
    program = CpuEngine().build(remove_dead(front))
    return program.run(program.initial_state(len(requests)), inputs_of(graph, requests), 0)[1]["prepared"]


def compare_batch(stored: Graph, net: Any, requests: Array, count: Count) -> list[str]:
    """Run one batch through both and add to `count`; the samples whose predictions differ."""
    served = simplify(stored)
    (output,) = served.outputs
    ours = answers(observed(served), requests)
    source = recorded(net, stored, ours[encoder_of(served)])
    count.itself += differs_from_itself(net, source, ours[encoder_of(served)])
    alone = run_forced(served, source.emitted)
    count.samples += len(requests)
    for name in neuron_layers(served):
        compare_layer(name, source, alone[name], count)
        count.end_to_end += int((source.emitted[name] != ours[name]).sum())
    if count.samples == len(requests):
        compare_membranes(stored, served, source, count)
    explain(stored, source, alone, count)
    check_first_flips(served, source, ours, alone, count)
    mine, theirs = ours[output].argmax(-1), source.logits.mean(0).argmax(-1)
    first = count.samples - len(requests)
    return [f"sample {first + i} ({theirs[i]}, not {mine[i]})" for i in np.nonzero(mine != theirs)[0]]


def compare_layer(name: str, source: Source, ours: Array, count: Count) -> None:
    count.places += ours.size
    count.spikes += int(source.emitted[name].sum())
    count.forced += int((source.emitted[name] != ours).sum())
    distance = np.abs(source.membrane[name] - source.threshold[name])
    count.nearest = min(count.nearest, float(distance[distance > 0].min()))


def compare_membranes(stored: Graph, served: Graph, source: Source, count: Count) -> None:
    """Every membrane, each layer fed the source's own spikes, is the source's within the rounding bound."""
    arriving = currents(served, source.emitted)
    for name, bound in rounding_bounds(stored, source.emitted, source.received).items():
        ours, _ = membrane_before_firing(served.operator(name), arriving[name], source.emitted[name])
        error = np.abs(ours - source.membrane[name])
        count.error = max(count.error, float(error.max()))
        count.share = max(count.share, float(np.divide(error, bound, where=bound > 0, out=np.zeros_like(bound)).max()))
        if (error > bound).any():
            count.mistakes.append(f"{name}: {(error > bound).sum()} membranes differ by more than rounding")


def explain(stored: Graph, source: Source, alone: Layers, count: Count) -> None:
    """Every first flip of a neuron, its layer fed the source's own spikes, has the threshold within rounding."""
    flipped = {name: source.emitted[name] != alone[name] for name in source.membrane}
    rows = np.nonzero(sum(each.any(axis=(0, *range(2, each.ndim))) for each in flipped.values()))[0]
    if not rows.size:
        return
    few = {name: array[:, rows] for name, array in source.emitted.items()}
    bounds = rounding_bounds(stored, few, {name: array[:, rows] for name, array in source.received.items()})
    for name, bound in bounds.items():
        differs = flipped[name][:, rows]
        first = differs & (np.cumsum(differs, axis=0) == 1)
        count.followers += int(differs.sum() - first.sum())
        distance = np.abs(source.membrane[name] - source.threshold[name])[:, rows][first]
        unexplained = int((distance > bound[first]).sum())
        if unexplained:
            count.mistakes.append(
                f"{name}: {unexplained} flips of {first.sum()} further from the threshold than rounding"
            )
        if distance.size and distance.max() > count.furthest:
            count.furthest, count.bound = float(distance.max()), float(bound[first][distance.argmax()])


def check_first_flips(served: Graph, source: Source, ours: Layers, alone: Layers, count: Count) -> None:
    """End to end, a sample's first flips, before which both saw the same, are those of its layer alone; the rest follow."""
    undecided = np.ones(ours[encoder_of(served)].shape[1], bool)
    for name in neuron_layers(served):
        differs = source.emitted[name] != ours[name]
        times = differs.any(axis=tuple(range(2, differs.ndim)))
        for b in np.nonzero(times.any(axis=0) & undecided)[0]:
            t = int(times[:, b].argmax())
            undecided[b] = False
            if not np.array_equal(differs[t, b], (source.emitted[name] != alone[name])[t, b]):
                count.mistakes.append(f"{name}: sample {b} flips at step {t} end to end, and not in the layer alone")


def recorded(net: Any, stored: Graph, seen: Array) -> Source:
    """SpikingJelly on what our encoder emitted, seen through hooks, as arrays in the shapes of the graph's signals."""
    layers, signals, last = neuron_layers(stored), stored.signals(), {}
    hooks = [net.get_submodule(name).register_forward_hook(keep_membrane(last, name)) for name in layers]
    found, logits = record(net, seen.astype(np.float32), [*layers, *(f"{name}.recurrent" for name in layers)])
    for hook in hooks:
        hook.remove()
    source = Source({}, {encoder_of(stored): seen}, {}, {}, logits)
    for name in layers:
        given, spikes = (shaped(array, signals[name].shape) for array in found[name])
        if f"{name}.recurrent" in found:
            given = given + found[f"{name}.recurrent"][1]
        source.received[name], source.emitted[name] = given, spikes
        source.membrane[name], source.threshold[name] = membrane_before_firing(stored.operator(name), given, spikes)
        check_membrane(name, source, last[name])
    return source


def differs_from_itself(net: Any, source: Source, seen: Array) -> int:
    """How many of the source's spikes are others when its convolutions and products sum in another order."""
    with torch.backends.mkldnn.flags(enabled=False):
        again, _ = record(net, seen.astype(np.float32), source.membrane)
    return sum(int((again[name][1].ravel() != source.emitted[name].ravel()).sum()) for name in again)


def keep_membrane(last: Layers, name: str) -> Any:
    def hook(module: Any, _given: Any, _output: Any) -> None:
        last[name] = (module.u if hasattr(module, "u") else module.v).detach().numpy().copy()

    return hook


def check_membrane(name: str, source: Source, stored: Array) -> None:
    """SpikingJelly stores its membranes after the reset: where none was, that is the membrane before firing."""
    silent = source.emitted[name][-1] == 0
    error = np.abs(source.membrane[name][-1] - stored.reshape(silent.shape))[silent]
    assert silent.any()
    scale = max(1.0, float(np.abs(source.received[name]).max()))
    assert error.max() <= 2e-6 * scale, f"the membrane of {name} is not SpikingJelly's: it is off by {error.max():.1e}"


def shaped(array: Array, shape: tuple[int, ...]) -> Array:
    """A source may split channels into heads, or keep tokens as an image."""
    return array.reshape(*array.shape[:2], *shape)


def encoder_of(graph: Graph) -> str:
    (name,) = (name for name in graph.order() if isinstance(graph.operators[name], Encoder))
    return name


def trained(name: str, graph: Graph) -> Any:
    """The training code's network with the bundle's own weights."""
    from models import build

    net = build(name)
    state = {key: torch.from_numpy(np.array(value)) for key, value in module_state(graph).items()}
    missing, unexpected = net.load_state_dict(state, strict=False)
    assert [key for key in missing if not key.endswith("num_batches_tracked")] == []
    assert unexpected == []
    return net.eval()


def data_of(name: str) -> tuple[Array, Array]:
    try:
        return held_out(zoo.card(name)["dataset"], SAMPLES.get(name))
    except UserError as error:
        pytest.skip(str(error))
