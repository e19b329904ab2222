"""Every shipped model equals the network that was trained, spike for spike, on held-out data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.parity
pytest.importorskip("spikingjelly", reason="needs the parity environment: torch and SpikingJelly")

import torch  # noqa: E402
from spikingjelly.activation_based import layer  # noqa: E402

from synfire import zoo  # noqa: E402
from synfire.formats.spikingjelly import module_state  # noqa: E402
from synfire.graph import Graph, reference  # noqa: E402
from synfire.ops import Array  # noqa: E402
from synfire.testing.spikingjelly import check_module  # noqa: E402

if not hasattr(layer, "SpikingSelfAttention"):
    pytest.skip("the zoo was trained with SpikingJelly 2.0", allow_module_level=True)

SAMPLES = {"digits": 60, "mnist": 4, "nmnist": 2, "spoken": 6, "cora": 20}


@pytest.mark.parametrize("name", zoo.names())
def test_a_shipped_model_equals_the_trained_network(name: str) -> None:
    graph = zoo.load(name)
    net = trained(name, graph)
    requests, labels = held_out(graph, SAMPLES[name.split("-")[1]])
    parity = check_module(net, graph, requests)
    assert parity.spikes > 0
    right = float(np.mean(parity.predictions == labels))
    assert right >= graph.metadata["accuracy"] - 2.5 * (0.25 / len(labels)) ** 0.5


def trained(name: str, graph: Graph) -> Any:
    """The training code's network with the bundle's own weights."""
    from models import build

    net = build(name)
    state = {key: torch.from_numpy(np.array(value)) for key, value in module_state(graph).items()}
    missing, unexpected = net.load_state_dict(state, strict=False)
    assert [key for key in missing if not key.endswith("num_batches_tracked")] == []
    assert unexpected == []
    return net.eval()


def held_out(graph: Graph, count: int) -> tuple[Array, Array]:
    """Requests as a client sends them, and their classes."""
    dataset = graph.metadata["dataset"]
    if dataset.startswith("digit"):
        images, labels = zoo.held_out_digits()
        return images[:count, None], labels[:count]
    try:
        return stored(dataset, count)
    except SystemExit as error:
        pytest.skip(str(error))


def stored(dataset: str, count: int) -> tuple[Array, Array]:
    """The first held-out samples of a data set, unprocessed."""
    import data

    root = data.data_root()
    if dataset.startswith("mnist"):
        tests = data.DATASETS[dataset]().test
        return tests.x[:count].numpy(), tests.y[:count].numpy()
    if dataset == "nmnist":
        return events(np.load(root / "nmnist" / "nmnist.npz"), count)
    if dataset == "cora":
        held = np.load(root / "citation-graphs" / "cora.npz")
        nodes = held["test"][:count].astype(np.int64)
        return nodes, held["y"][nodes]
    files = sorted((root / "spoken-digits" / "recordings").glob("*_[0-4].wav"))[:: 300 // count][:count]
    return objects([file.read_bytes() for file in files]), np.array([int(file.name[0]) for file in files])


def events(held: Any, count: int) -> tuple[Array, Array]:
    """Recordings as rows (t in microseconds, x, y, polarity)."""
    bounds = zip(held["test_offsets"][:count], held["test_offsets"][1:], strict=False)
    columns = [held[f"test_{column}"].astype(np.int64) for column in ("t_us", "x", "y", "p")]
    recordings = [np.stack([column[a:b] for column in columns], axis=1) for a, b in bounds]
    return objects(recordings), held["test_labels"][:count].astype(np.int64)


def objects(items: list[Any]) -> Array:
    array = np.empty(len(items), object)
    for i, item in enumerate(items):
        array[i] = item
    return array


def test_the_random_encoder_is_the_same_in_every_run() -> None:
    graph = zoo.load("sgnn-digits")
    images, _ = zoo.held_out_digits()
    once, again = (reference.run(graph, {"input": images[:8, None]})["output"] for _ in range(2))
    assert np.array_equal(once, again)
