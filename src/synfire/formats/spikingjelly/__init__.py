"""SpikingJelly modules (0.0.0.0.14 and 2.0) into graphs. torch and SpikingJelly are imported when they are needed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from synfire.base.errors import UserError
from synfire.graph import Graph, flatten
from synfire.ops import Array, Operator

__all__ = ["from_module", "module_state"]


def from_module(
    net: Any,
    *,
    steps: int,
    input_shape: tuple[int, ...],
    encoder: str | Operator = "constant",
    readout: str = "mean",
    allow: Collection[str] = (),
    labels: list[str] | None = None,
    converters: Mapping[type, Any] | None = None,
) -> Graph:
    """The graph that computes what the module `net` computes in evaluation mode, from a reset state, for `steps` steps.

    `input_shape` is that of one sample at one step. `encoder` says how a request becomes steps: `constant` (the same value
    at each), `bernoulli` (seeded spikes), `sequence` (the request brings `(steps, *input_shape)`), `steps` (the graph's input
    is per step), `module` (the net repeats it by itself), or an encoder operator. `readout` joins the steps of the output
    unless the net does: `mean`, `sum` (of spikes), `last`, `none`. `labels` name the classes. `converters` maps module
    classes that synfire does not know to functions `(context, module, name, *inputs) -> output`.

    Operators are named by module paths, so `module_state` gives a state dict back. Raises `UserError` naming the call or
    module that has no operator, and `LossyImport` for a change of behaviour that is not in `allow` (`precision`).
    """
    try:
        from synfire.formats.spikingjelly import importer
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("synfire"):
            raise
        raise UserError(
            f"importing a SpikingJelly module needs torch and spikingjelly, and {error.name} is missing; install both beside synfire"
        ) from error
    return importer.from_module(
        net,
        steps=steps,
        input_shape=input_shape,
        encoder=encoder,
        readout=readout,
        allow=allow,
        labels=labels,
        converters=converters,
    )


def module_state(graph: Graph) -> dict[str, Array]:
    """The state dict of the module that `graph` was imported from: parameters and BatchNorm statistics by name.

    Raises `UserError` for a graph that was not imported from SpikingJelly, or whose operators were folded since.
    """
    source = graph.metadata.get("source", {})
    if source.get("framework") != "spikingjelly":
        raise UserError(
            "this graph was not imported from SpikingJelly, so it has no state dict; import the module again"
        )
    flat = flatten(graph)
    state = {name: _joined(flat, name, places) for name, places in source["parameters"].items()}
    return {**state, **{name: np.asarray(value, np.float32) for name, value in source["scalars"].items()}}


def _joined(graph: Graph, name: str, places: list[str]) -> Array:
    parts = []
    for place in places:
        operator, _, field = place.rpartition("/")
        if operator not in graph.operators:
            raise UserError(
                f"operator {operator!r}, which holds {name!r}, is gone; ask for the state before folding the graph"
            )
        parts.append(getattr(graph.operator(operator), field))
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
