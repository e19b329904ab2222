"""Small NIR graphs, and NIR files with something wrong in them."""

from itertools import pairwise
from pathlib import Path

import h5py
import nir
import numpy as np

from synfire.ops import Array


def full(shape: int | tuple[int, ...], value: float) -> Array:
    return np.full(shape, value, np.float32)


def lif(n: int | tuple[int, ...], **changes: float) -> nir.LIF:
    values = {"tau": 0.01, "r": 1.0, "v_leak": 0.0, "v_threshold": 0.5, "v_reset": 0.0, **changes}
    return nir.LIF(**{name: full(n, value) for name, value in values.items()})


def affine(outputs: int, inputs: int, seed: int = 0) -> nir.Affine:
    rng = np.random.default_rng(seed)
    return nir.Affine(rng.standard_normal((outputs, inputs)).astype("f4"), rng.standard_normal(outputs).astype("f4"))


def conv2d(
    weight: tuple[int, ...], padding: object = 0, stride: object = 1, input_shape: tuple[int, int] | None = None
) -> nir.Conv2d:
    rng = np.random.default_rng(1)
    drawn = rng.standard_normal(weight).astype("f4")
    return nir.Conv2d(input_shape, drawn, stride, padding, 1, 1, rng.standard_normal(weight[0]).astype("f4"))


def sheet(edges: list[tuple[str, str]], **nodes: nir.NIRNode) -> nir.NIRGraph:
    return nir.NIRGraph(nodes, edges, type_check=False)


def chain(shape: tuple[int, ...], outputs: tuple[int, ...], **nodes: nir.NIRNode) -> nir.NIRGraph:
    """Nodes one after the other between `input` and `output`."""
    every = {"input": nir.Input(np.array(shape)), **nodes, "output": nir.Output(np.array(outputs))}
    names = list(every)
    return sheet(list(pairwise(names)), **every)


def recurrent(neuron: nir.NIRNode, n: int) -> nir.NIRGraph:
    """Affine into a neuron layer whose spikes return through an Affine of their own."""
    graph = chain((3,), (n,), a=affine(n, 3), n=neuron)
    graph.nodes["w"] = affine(n, n, seed=2)
    graph.edges += [("n", "w"), ("w", "n")]
    return graph


def write(graph: nir.NIRGraph, path: Path) -> Path:
    """As the nir package writes it; a Conv without an input shape is written without one."""
    _drop_unknown(graph)
    nir.write(path, graph)
    return path


def _drop_unknown(graph: nir.NIRGraph) -> None:
    for node in graph.nodes.values():
        if isinstance(node, nir.Conv1d | nir.Conv2d) and node.input_shape is None:
            node.to_dict = lambda node=node: {k: v for k, v in type(node).to_dict(node).items() if k != "input_shape"}
        if isinstance(node, nir.NIRGraph):
            _drop_unknown(node)


def edit(path: Path, **fields: object) -> Path:
    """Replace datasets, named `node_field`, or remove them (None)."""
    with h5py.File(path, "r+") as file:
        for name, value in fields.items():
            node, _, field = name.partition("__")
            group = file["node/nodes"][node] if field else file["node"]
            key = field or node
            if key in group:
                del group[key]
            if value is not None:
                group[key] = value
    return path
