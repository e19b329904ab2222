"""The framework's model as every peer hosts it: raw requests in, raw scores out.

It is SpikingJelly's multi-step net with batch normalisation folded into the synapses, in inference mode, which is the fastest
that the framework offers on a processor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from synfire.graph import Graph, flatten
from synfire.graph.passes import simplify
from synfire.ops import Array
from synfire.ops.event_frames import EventFrames
from synfire.plan import stage_graph
from synfire.zoo import load

EVENT = np.dtype(np.int32)
"""What events travel as: 300 000 µs do not fit into less."""


class Net:
    """`model` of the zoo in SpikingJelly, with so many torch threads."""

    def __init__(self, model: str, threads: int = 1) -> None:
        import torch

        from synfire.testing.counterpart import Counterpart, spikingjelly_neuron

        torch.set_num_threads(threads)
        graph = simplify(flatten(load(model)))
        self._read = reader(graph)
        part = stage_graph(graph, tuple(name for name in graph.order() if not _is_decoding(graph, name)))
        (self._input,), (self._output,) = part.inputs, part.outputs
        self._timed = part.inputs[self._input].timed
        self._net = Counterpart(part, spikingjelly_neuron, stepwise=False).eval()
        self._torch: Any = torch

    def __call__(self, requests: Sequence[bytes]) -> list[bytes]:
        """The scores `(class,)` of each request, as float32 bytes."""
        samples = np.stack([self._read(each) for each in requests], axis=1 if self._timed else 0)
        with self._torch.inference_mode():
            self._net.reset()
            scores = self._net({self._input: self._torch.from_numpy(samples)})[self._output][-1].numpy()
        return [each.tobytes() for each in scores]


def narrow(sample: Array) -> Array:
    """A sample as it is sent to every server: an image as it is, events in `EVENT`."""
    return sample.astype(EVENT) if sample.dtype.kind in "iu" else sample


def raw(sample: Array) -> bytes:
    """The bytes of a sample as it is sent."""
    return narrow(sample).tobytes()


def reader(graph: Graph) -> Callable[[bytes], Array]:
    """What makes an image `(channel, y, x)`, or frames of events `(time, polarity, y, x)`, of raw bytes."""
    (signal,) = graph.inputs.values()
    for name in graph.order():
        operator = graph.operator(name)
        if isinstance(operator, EventFrames):
            return lambda data: _frames(operator, np.frombuffer(data, EVENT).reshape(-1, 4))
    return lambda data: np.frombuffer(data, np.float32).reshape(signal.shape)


def _frames(operator: EventFrames, events: Array) -> Array:
    """What `EventFrames` makes, without its checks."""
    t, x, y, p = events.T
    step = (t - t[0]) // operator.dt_us
    kept = step < operator.steps
    frames = np.zeros((operator.steps, 2, operator.height, operator.width), np.float32)
    frames[step[kept], p[kept], y[kept], x[kept]] = 1
    return frames


def _is_decoding(graph: Graph, name: str) -> bool:
    return graph.operator(name).kind in ("EventFrames", "Sequence")
