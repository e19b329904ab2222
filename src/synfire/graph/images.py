"""Picture models that take files: an ImageDecode in front of the graph."""

from __future__ import annotations

from dataclasses import replace

from synfire.base.errors import UserError
from synfire.graph.graph import Graph, Synapse
from synfire.ops import Clock, Kind, Signal
from synfire.ops.image_decode import ImageDecode

DECODER = "image_decode"


def accepting_images(graph: Graph, negative: bool = False) -> Graph:
    """The graph with PNG and JPEG files instead of numbers at its only input: bytes, scaled to the size that it takes.

    The files' levels 0 to 255 become 0 to 1, or 1 to 0 when `negative`: for dark strokes on white paper, where the model
    was trained on bright ones. Raises `UserError` unless the input is one grey or colour picture per request.
    """
    if len(graph.inputs) != 1:
        raise UserError(f"the model takes {sorted(graph.inputs)}, not one picture; serve it without accepting images")
    ((name, signal),) = graph.inputs.items()
    picture = signal.kind is Kind.VALUE and signal.clock is Clock.REQUEST and len(signal.shape) == 3
    if not picture or signal.shape[0] not in (1, 3) or min(signal.shape) < 1:
        raise UserError(
            f"input {name!r} is {signal}, no picture (1 or 3)×height×width per request; serve it without accepting images"
        )
    channels, height, width = signal.shape
    decoder = _free(graph, DECODER)
    return replace(
        graph,
        operators={decoder: ImageDecode(channels, height, width, invert=negative), **graph.operators},
        synapses=(
            Synapse(name, decoder),
            *(replace(each, source=decoder) if each.source == name else each for each in graph.synapses),
        ),
        inputs={name: Signal((), Kind.BYTES, Clock.REQUEST)},
        outputs={out: decoder if source == name else source for out, source in graph.outputs.items()},
    )


def _free(graph: Graph, name: str) -> str:
    """The name, with underscores until nothing else is called so."""
    while name in graph.operators or name in graph.inputs:
        name += "_"
    return name
