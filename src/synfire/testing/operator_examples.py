"""At least one small instance of every operator kind, with the signals that feed it: food for conformance suites."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from synfire.ops import OPERATORS, Array, Clock, Kind, Operator, Signal
from synfire.testing.operators import Draw


@dataclass(frozen=True)
class Example:
    """An operator and its input signals; `draw` makes inputs that random numbers would not be."""

    name: str
    operator: Operator
    signals: tuple[Signal, ...]
    draw: Draw | None = None


def _value(*shape: int) -> Signal:
    return Signal(shape, Kind.VALUE)


def _spike(*shape: int) -> Signal:
    return Signal(shape, Kind.SPIKE)


def _count(*shape: int) -> Signal:
    return Signal(shape, Kind.COUNT)


def _request(*shape: int, kind: Kind = Kind.VALUE) -> Signal:
    return Signal(shape, kind, Clock.REQUEST)


def _running(*shape: int) -> Signal:
    return Signal(shape, Kind.VALUE, Clock.RUNNING)


_BYTES = _request(kind=Kind.BYTES)
_EVENTS = _request(-1, 4, kind=Kind.INDEX)
_NEIGHBOURHOOD = (_request(-1, 2), _request(-1, 2, kind=Kind.INDEX), _request(-1, kind=Kind.INDEX))


def _weights(*shape: int) -> Array:
    """Reproducible parameters of mixed sign."""
    return np.random.default_rng(sum(shape)).uniform(-1, 1, shape).astype(np.float32)


def _ragged(make: Callable[[np.random.Generator], Any]) -> Draw:
    """Draws one object per sample."""

    def draw(rng: np.random.Generator, batch: int) -> tuple[Array, ...]:
        samples = np.empty(batch, object)
        for b in range(batch):
            samples[b] = make(rng)
        return (samples,)

    return draw


def png(rng: np.random.Generator) -> bytes:
    """A random grey image of 5 × 6 pixels."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (5, 6), np.uint8)).save(file, "PNG")
    return file.getvalue()


def wav(rng: np.random.Generator) -> bytes:
    """A random recording of up to 60 mono samples, 16 bits at 8 kHz."""
    samples = rng.integers(-(2**15), 2**15, rng.integers(1, 60)).astype("<i2").tobytes()
    header = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8000, 16000, 2, 16)
    body = b"WAVE" + header + struct.pack("<4sI", b"data", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", len(body)) + body


def events(rng: np.random.Generator) -> Array:
    """Up to 30 events in order of time, on a sensor of 3 × 4 pixels."""
    n = int(rng.integers(1, 30))
    t = np.sort(rng.integers(0, 5000, n))
    return np.stack([t, rng.integers(0, 4, n), rng.integers(0, 3, n), rng.integers(0, 2, n)], axis=1)


def neighbourhoods(rng: np.random.Generator, batch: int) -> tuple[Array, ...]:
    """Random trees of up to 6 nodes with 2 features: all features, all edges, all degrees. A lone node has no edges."""
    parts = tuple(np.empty(batch, object) for _ in _NEIGHBOURHOOD)
    for b in range(batch):
        rows = int(rng.integers(1, 7))
        edges = np.array([(int(rng.integers(row)), row) for row in range(1, rows)], np.int64).reshape(-1, 2)
        degrees = np.bincount(edges.ravel(), minlength=rows)
        for part, array in zip(parts, (rng.random((rows, 2), np.float32), edges, degrees), strict=True):
            part[b] = array
    return parts


def _event_bytes(rng: np.random.Generator) -> bytes:
    return events(rng).astype("<i8").tobytes()


def _make(kind: str, *args: Any, **fields: Any) -> Operator:
    return OPERATORS[kind](*args, **fields)


def _example(kind: str, *signals: Signal, variant: str = "", draw: Draw | None = None, **fields: Any) -> Example:
    return Example(f"{kind} {variant}".strip(), _make(kind, **fields), signals, draw)


def _synapses() -> list[Example]:
    four, two = _weights(4), _weights(2)
    return [
        _example("Linear", _spike(5), weight=_weights(4, 5), bias=four),
        _example("Linear", _value(3, 5), variant="over tokens", weight=_weights(4, 5), bias=four),
        _example("Conv1d", _spike(2, 7), weight=_weights(4, 2, 3), bias=four, stride=2, padding=(1, 2)),
        _example(
            "Conv1d", _value(4, 7), variant="in groups", weight=_weights(4, 2, 2), bias=four, groups=2, dilation=2
        ),
        _example("Conv2d", _count(2, 5, 6), weight=_weights(4, 2, 3, 2), bias=four, padding=(1, 0, 2, 1)),
        _example("Conv2d", _value(2, 5, 5), variant="depthwise", weight=_weights(2, 1, 3, 3), bias=two, groups=2),
        _example("BatchNorm", _value(2, 3, 3), **_statistics(2)),
        _example("BatchNorm", _spike(3, 2), variant="channels last", **_statistics(2), axis=-1),
        _example("Scale", _spike(3), factor=_weights(3)),
        _example("Scale", _value(2, 2), variant="by one number", factor=0.25),
        _example("Shift", _value(2, 3), offset=_weights(3)),
        _example("Threshold", _value(4), threshold=0.5),
        _example("Threshold", _count(2, 2), variant="strict, per element", threshold=_weights(2), strict=True),
    ]


def _statistics(channels: int) -> dict[str, Any]:
    mean, gain, shift = _weights(3, channels)
    return {"mean": mean, "variance": np.abs(_weights(channels)) + 0.5, "gain": gain, "shift": shift}


def _pools() -> list[Example]:
    window: dict[str, Any] = {"kernel": (3, 2), "stride": (2, 2), "padding": (1, 1, 0, 1), "ceil_mode": True}
    line: dict[str, Any] = {"kernel": (2,), "stride": (2,), "padding": (1, 0), "ceil_mode": True}
    return [
        _example("SumPool2d", _spike(2, 5, 4), kernel=(2, 2), stride=(2, 2)),
        _example("AvgPool2d", _spike(2, 6, 5), **window),
        _example("AvgPool2d", _value(2, 6, 5), variant="without padding", **window, count_include_pad=False),
        _example("AvgPool2d", _count(1, 4, 4), variant="by divisor", kernel=(2, 2), stride=(2, 2), divisor=3),
        _example("AvgPool1d", _value(2, 6), **line),
        _example("MaxPool2d", _spike(2, 6, 5), **window),
        _example("MaxPool2d", _value(2, 6, 5), variant="of values", kernel=(2, 2), stride=(1, 1), dilation=(2, 1)),
        _example("MaxPool1d", _value(2, 6), **line),
        _example("AdaptiveAvgPool2d", _spike(2, 5, 4), size=(2, 3)),
        _example("GlobalAvgPool", _value(3, 2, 4)),
        _example("GlobalAvgPool", _spike(3, 5), variant="keepdims", keepdims=True),
        _example("TokenSum", _spike(4, 3), keepdims=True),
        _example("TokenSum", _value(3, 4), variant="channels first", axis=1),
        _example("TokenMean", _value(4, 3)),
    ]


def _shapes() -> list[Example]:
    return [
        _example("Identity", _spike(3)),
        _example("Flatten", _spike(2, 3, 4)),
        _example("Flatten", _value(2, 3, 4), variant="of the last axes", start_axis=1),
        _example("Reshape", _value(2, 6), shape=(3, -1)),
        _example("Transpose", _spike(2, 3, 4), axes=(2, 0, 1)),
        _example("Slice", _value(2, 5), start=1, stop=3, axis=-1),
        _example("Concatenate", _spike(2, 3), _count(1, 3)),
        _example("Delay", _spike(3), steps=2),
        _example("Delay", _value(3), variant="per element", steps=np.array([0, 1, 3])),
    ]


def _joints() -> list[Example]:
    return [
        _example("Add", _spike(2, 3), _spike(2, 3), _count(2, 1)),
        _example("Add", _value(3), _spike(3), variant="of values"),
        _example("Multiply", _spike(2, 3), _spike(2, 1)),
        _example("Multiply", _value(3), _count(3), variant="of values"),
        _example("AndNot", _spike(3), _spike(3)),
        _example("AndNot", _value(3), _spike(3), variant="of values"),
        _example("MatMul", _spike(3, 4), _count(4, 2)),
        _example("MatMul", _value(2, 4, 3), _spike(2, 5, 4), variant="transposed", transpose_a=True, transpose_b=True),
        _example("SelfAttention", *[_spike(3, 4)] * 3, heads=2),
        _example("SelfAttention", *[_spike(4, 3)] * 3, variant="channels first", heads=2, layout="channels_first"),
    ]


def _neurons() -> list[Example]:
    per_neuron = np.array([1.5, 2.0, 3.0], np.float32)
    return [
        _example("LIF", _value(3)),
        _example("LIF", _value(2, 3), variant="soft, per neuron", tau=per_neuron, reset="soft", decay_input=False),
        _example("IF", _value(3)),
        _example("ParametricLIF", _value(3), inv_tau=0.4),
        _example("ALIF", _value(3), b0=0.1),
        _example("DiscreteLIF", _value(3)),
        _example("DiscreteLIF", _value(3), variant="several spikes", spikes="multi", threshold=0.3),
        _example("LeakyIntegrator", _value(3), rate=0.3),
        _example("CubaLIF", _value(3), threshold=0.4),
        _example("CubaLI", _value(3), order="jump"),
    ]


def _encoders() -> list[Example]:
    return [
        _example("ConstantCurrent", _request(3), steps=4),
        _example("Bernoulli", _request(2, 3), steps=4, seed=7),
        _example("Latency", _request(5), steps=4),
        _example("Latency", _request(5), variant="logarithmic", steps=4, curve="log"),
        _example("Sequence", _request(3, 2, 2, kind=Kind.SPIKE), steps=3),
        _example("Delta", _value(3), threshold=0.2),
        _example("Delta", _spike(3), variant="both ways", threshold=0.5, polarities=True),
    ]


def _readouts() -> list[Example]:
    return [
        _example("MeanRate", _spike(3)),
        _example("SpikeCount", _spike(3)),
        _example("Last", _value(3)),
        _example("MaxOverTime", _value(3)),
        _example("FirstSpike", _spike(5)),
        _example("Softmax", _running(5)),
        _example("Softmax", _running(2, 3), variant="over the first axis", axis=0),
        _example("ArgMax", _running(5)),
    ]


def _graphs() -> list[Example]:
    """A path of three nodes: 0 – 1 – 2."""
    path: dict[str, Any] = {"indptr": np.array([0, 1, 3, 4]), "indices": np.array([1, 0, 2, 1])}
    entries: dict[str, Any] = {"indptr": np.array([0, 2, 2, 3]), "columns": np.array([1, 3, 0]), "values": _weights(3)}
    stored: dict[str, Any] = {"reference": np.array([[0, 4], [3, 1], [2, 2]]), "degrees": np.array([3, 3, 2])}
    return [
        _example("GraphAggregation", _request(3, 2), **path, hops=2),
        _example("GraphAggregation", _request(3, 2), variant="clipped", **path, clip=True),
        _example("KNearestAggregation", _request(2), **stored, k=2, scale=0.25),
        _example("KNearestAggregation", _request(2, kind=Kind.INDEX), variant="of whole numbers", **stored, k=1),
        _example("NeighbourhoodAggregation", *_NEIGHBOURHOOD, draw=neighbourhoods, hops=2),
        _example("NeighbourhoodAggregation", *_NEIGHBOURHOOD, variant="clipped", draw=neighbourhoods, clip=True),
        _example("Constant", _request(1), value=_weights(3, 2)),
        _example("Constant", _request(1), variant="of whole numbers", value=np.array([4, 5])),
        _example("SparseConstant", _request(1), **entries, width=4),
        _example("Lookup", _request(kind=Kind.INDEX), table=_weights(2, 3)),
        _example("SelectRow", _request(3, 2), _request(kind=Kind.INDEX)),
    ]


def _preprocessing() -> list[Example]:
    frames: dict[str, Any] = {"steps": 3, "height": 3, "width": 4, "dt_s": 0.001}
    mel: dict[str, Any] = {"sample_rate_hz": 8000, "n_fft": 32, "frames": 3, "window_s": 0.002, "hop_s": 0.001}
    return [
        _example("ImageDecode", _BYTES, draw=_ragged(png), channels=1, height=5, width=6),
        _example(
            "ImageDecode", _BYTES, variant="resized", draw=_ragged(png), channels=3, height=4, width=4, invert=True
        ),
        _example("WavDecode", _BYTES, draw=_ragged(wav), sample_rate_hz=8000, samples=32),
        _example("LogMel", _request(40), mean=_weights(4), deviation=np.ones(4, np.float32), **mel),
        _example("EventDecode", _BYTES, draw=_ragged(_event_bytes)),
        _example("EventFrames", _EVENTS, draw=_ragged(events), **frames),
        _example("EventFrames", _EVENTS, variant="counted", draw=_ragged(events), **frames, counts=True),
    ]


EXAMPLES: tuple[Example, ...] = (
    *_synapses(),
    *_pools(),
    *_shapes(),
    *_joints(),
    *_neurons(),
    *_encoders(),
    *_readouts(),
    *_graphs(),
    *_preprocessing(),
)
"""Every registered kind of `synfire.ops` at least once; a test sees to that."""
