"""Held-out data of the zoo's models, as a client sends it, and the engine's answers to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synfire import zoo
from synfire.base import paths
from synfire.base.errors import UnknownName, UserError
from synfire.engines.cpu.engine import CpuEngine
from synfire.graph import Graph
from synfire.ops import Array, Clock

FLOORS = {
    "svgg-digits": 0.95,
    "sresnet-digits": 0.95,
    "scnn-digits": 0.95,
    "stransformer-digits": 0.95,
    "srnn-digits": 0.92,
    "sgnn-digits": 0.92,
    "svgg-mnist": 0.99,
    "sresnet-mnist": 0.99,
    "scnn-mnist": 0.99,
    "stransformer-mnist": 0.985,
    "scnn-nmnist": 0.92,
    "srnn-spoken": 0.90,
    "sgnn-cora": 0.78,
}
"""The accuracy on held-out data that each model promises; fine-tuned variants promise what their card says."""

BATCH = 50


def held_out(dataset: str, count: int | None = None) -> tuple[Array, Array]:
    """Requests `(sample, …)` of a card's `dataset` and their classes `(sample,)`: all, or `count` drawn once for all.

    Where a model takes several inputs, requests are a structured array with a field for each (see `inputs_of`).
    Raises `UserError` where the data is not at hand (see `synfire.base.paths.data`), `UnknownName` for another data set.
    """
    if dataset not in _READERS:
        raise UnknownName.among("data set", dataset, _READERS)
    requests, labels = _READERS[dataset]()
    if count is None or count >= len(labels):
        return requests, labels
    chosen = np.sort(np.random.default_rng(0).permutation(len(labels))[:count])
    return requests[chosen], labels[chosen]


def answers(graph: Graph, requests: Array, batch: int = BATCH) -> dict[str, Array]:
    """Every output of the flat `graph` in the cpu engine: `(sample, …)` for a readout's answer, else `(steps, sample, …)`."""
    program = CpuEngine().build(graph)
    steps = graph.steps or 1
    parts = []
    for start in range(0, len(requests), batch):
        given = requests[start : start + batch]
        parts.append(program.run(program.initial_state(len(given)), inputs_of(graph, given), steps)[1])
    joined = {output: np.concatenate([part[output] for part in parts], axis=1) for output in parts[0]}
    running = {output for output, signal in program.outputs.items() if signal.clock is Clock.RUNNING}
    return {output: array[-1] if output in running else array for output, array in joined.items()}


def inputs_of(graph: Graph, requests: Array) -> dict[str, Array]:
    """A batch of `held_out` requests by the names of the graph's inputs."""
    if requests.dtype.names:
        return {name: requests[name] for name in graph.inputs}
    (name,) = graph.inputs
    return {name: requests}


def _digits() -> tuple[Array, Array]:
    images, labels = zoo.held_out_digits()
    return images[:, None], labels


def _mnist(rule: Callable[[Array], Array]) -> tuple[Array, Array]:
    stored = np.load(_stored("mnist/mnist.npz"))
    return (stored["x_test"][:, None] / 255).astype(np.float32), rule(stored["y_test"].astype(np.int64))


def _nmnist() -> tuple[Array, Array]:
    """Recordings as rows (t in microseconds, x, y, polarity)."""
    stored = np.load(_stored("nmnist/nmnist.npz"))
    rows = np.stack([stored[f"test_{column}"].astype(np.int64) for column in ("t_us", "x", "y", "p")], axis=1)
    return _objects(np.split(rows, stored["test_offsets"][1:-1])), stored["test_labels"].astype(np.int64)


def _spoken() -> tuple[Array, Array]:
    """WAV files of takes 0 to 4, which are the test split."""
    files = sorted(_stored("spoken-digits/recordings").glob("*_[0-4].wav"))
    return _objects([file.read_bytes() for file in files]), np.array([_spoken_digit(file) for file in files])


def _spoken_digit(file: Path) -> int:
    return int(file.name.partition("_")[0])


def _cora() -> tuple[Array, Array]:
    """The test papers, each with those within two citations."""
    stored = np.load(_stored("citation-graphs/cora.npz"))
    x, edges, nodes = stored["x"], stored["edge_index"], stored["test"].astype(np.int64)
    around = [zoo.neighbourhood(x, edges, int(node)) for node in nodes]
    requests = np.empty(len(nodes), [(name, object) for name in around[0]])
    for name in around[0]:
        requests[name] = _objects([each[name] for each in around])
    return requests, stored["y"][nodes]


def _stored(name: str) -> Path:
    """A file or folder of the data. Raises `UserError` when it is not there."""
    place = paths.data() / name
    if not place.exists():
        raise UserError(f"there is no {name} in {paths.data()}; docs/data.md says where to get it")
    return place


def _objects(items: Sequence[Any]) -> Array:
    array = np.empty(len(items), object)
    for i, item in enumerate(items):
        array[i] = item
    return array


_READERS: dict[str, Callable[[], tuple[Array, Array]]] = {
    "digits": _digits,
    "digit-graph": _digits,
    "mnist": lambda: _mnist(lambda y: y),
    "mnist-parity": lambda: _mnist(lambda y: y % 2),
    "mnist-size": lambda: _mnist(lambda y: (y >= 5).astype(np.int64)),
    "nmnist": _nmnist,
    "spoken": _spoken,
    "cora": _cora,
}
