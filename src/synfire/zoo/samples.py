"""Inputs that fit a model: digits for people, and plausible data for measurements."""

from __future__ import annotations

import io
import wave
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from synfire.base.errors import UserError
from synfire.graph import Graph, flatten
from synfire.ops import Array, Kind, Operator, Signal
from synfire.zoo.digits import MNIST_SIDE, WRITTEN, as_mnist, written

STEPS = 16
"""Time steps of a sample for a model that leaves their number to the request: a usual number in the field."""

EVENTS = 1000
"""Events of a sample recording."""

OPEN = 4
"""How large an axis of a whole model's sample is that the model leaves open."""

NODES = 10
"""Nodes of a sample neighbourhood: a tree of which the inner ones have three more each."""

THREE = 3
"""The digit of the sample with seed 0."""

PALEST = 0.7
"""What is left of a digit's levels at the least where somebody else wrote it."""

SHADES = 4
"""How many shades a sample picture in colour has in each row, column and colour; they pass into each other."""

UNIT_RANGE = "values in [0, 1]"
"""What the zoo's picture models say of their input in `metadata["input"]`."""


@dataclass(frozen=True)
class PictureFile:
    """How a model reads files of pictures: scaled to `side`, height and width, and as negatives where it `inverts`."""

    side: tuple[int, int]
    inverts: bool


def sample(graph: Graph, seed: int = 0) -> dict[str, Array]:
    """One request that fits the graph, another for each seed and always the same: a digit where a grey image is expected, colours where one
    in colour is, else random values, spikes, sound, events or a tree."""
    flat, rng = flatten(graph), np.random.default_rng(seed)
    return {name: _sample(flat, name, signal, seed, rng) for name, signal in flat.inputs.items()}


def picture_inputs(signals: Mapping[str, Signal], picture: Array, inverted: bool = False) -> dict[str, Array]:
    """One request with the grey `picture` `(height, width)` in [0, 1] as the only input, resized to fit.

    An input of bytes gets a PNG, of the negative when `inverted`. Raises `UserError` when no picture is taken.
    """
    if len(signals) != 1:
        raise UserError(f"the model takes {sorted(signals)}, not one picture; send them with --input FILE.npz")
    ((name, signal),) = signals.items()
    fitted = _picture(signal, picture, inverted)
    if fitted is None:
        raise UserError(f"input {name!r} is {signal}, no picture; send it with --input FILE")
    return {name: fitted}


def digit_inputs(signals: Mapping[str, Signal], digit: Array, file: PictureFile | None = None) -> dict[str, Array]:
    """One request with an 8×8 digit, made to what the model was trained on; `file` says how it reads files, if it does.

    Raises as `picture_inputs` does.
    """
    side = file.side if file else next((_side(signal) for signal in signals.values()), None)
    return picture_inputs(signals, _fit(digit, side), bool(file and file.inverts))


def picture_file(graph: Graph) -> PictureFile | None:
    """How the graph reads files of pictures; None where it takes none."""
    decoders = (_reader(graph, name, "ImageDecode") for name in graph.inputs)
    found = next((each.attributes() for each in decoders if each is not None), None)
    return PictureFile((found["height"], found["width"]), found["invert"]) if found else None


def check_unit_range(where: str, name: str, array: Array) -> None:
    """Raise `UserError` for whole numbers beyond 1 where a model takes `UNIT_RANGE`: levels as files have them, 0 to 255."""
    if array.dtype.kind == "f" and array.size and array.max() > 1 and np.array_equal(array, np.rint(array)):
        raise UserError(
            f"{where} holds whole numbers up to {array.max():g}, and input {name!r} takes values in [0, 1]; "
            "divide pixels by 255"
        )


def _fit(digit: Array, side: tuple[int, int] | None) -> Array:
    return as_mnist(digit) if side == (MNIST_SIDE, MNIST_SIDE) else digit


def _picture(signal: Signal, picture: Array, inverted: bool) -> Array | None:
    """The picture, grey `(height, width)` or `(channels, *side)`, as the input's array of batch 1; None where it takes something else."""
    if signal.timed:
        return None
    if signal.kind is Kind.BYTES:
        return files(_png(1 - picture if inverted else picture))
    side = _side(signal) if signal.kind is Kind.VALUE else None
    if side is None:
        return None
    channels = signal.shape[:-2]
    image = np.broadcast_to(_resized(picture, side), (1, *channels, *side))
    return np.ascontiguousarray(image).reshape(1, *signal.shape)


def _side(signal: Signal) -> tuple[int, int] | None:
    """Height and width of the picture that a value signal may be, `(1, 8, 8)` or `(64,)`; none that leaves an axis open is one."""
    if min(signal.shape, default=0) < 1:
        return None
    *channels, height, width = (1, 1, *signal.shape)
    if len(signal.shape) >= 2:
        return (height, width) if len(signal.shape) <= 3 and set(channels) <= {1, 3} else None
    root = round(width**0.5)
    return (root, root) if root > 1 and root * root == width and root in (8, 28) else None


def _resized(picture: Array, side: tuple[int, int]) -> Array:
    if picture.shape[-2:] == side:
        return picture.astype(np.float32)
    from PIL import Image

    height, width = side
    image = Image.fromarray(picture.astype(np.float32), mode="F").resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image, np.float32).clip(0, 1)


def _png(picture: Array) -> bytes:
    from PIL import Image

    levels = np.rint(picture * 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(levels if levels.ndim == 2 else np.moveaxis(levels, 0, -1)).save(file, "PNG")
    return file.getvalue()


def _sample(graph: Graph, name: str, signal: Signal, seed: int, rng: np.random.Generator) -> Array:
    port = _port(graph, name, "NeighbourhoodAggregation")
    if port is not None:
        return _tree(port, signal, rng)
    picture = _drawn(graph, name, signal, seed, rng)
    if picture is not None:
        return picture
    shape = (STEPS, 1, *signal.shape) if signal.timed else (1, *signal.shape)
    if graph.whole:
        return _plain(signal, tuple(OPEN if size < 0 else size for size in shape), rng)
    shape = tuple(EVENTS if size < 0 else size for size in shape)
    makers: Mapping[Kind, Callable[[], Array]] = {
        Kind.SPIKE: lambda: (rng.random(shape) < 0.1).astype(np.uint8),
        Kind.COUNT: lambda: rng.integers(0, 3, shape).astype(np.int32),
        Kind.VALUE: lambda: rng.random(shape).astype(np.float32),
        Kind.INDEX: lambda: _index(graph, name, shape, rng),
        Kind.BYTES: lambda: _file(graph, name, rng),
    }
    return makers[signal.kind]()


def _drawn(graph: Graph, name: str, signal: Signal, seed: int, rng: np.random.Generator) -> Array | None:
    """The picture of that seed as the input's array, or None where the input takes something else."""
    decoder = _reader(graph, name, "ImageDecode")
    file = picture_file(graph) if decoder else None
    side = file.side if file else _side(signal) if signal.kind is Kind.VALUE and not signal.timed else None
    if side is None:
        return None
    shape = decoder.infer(signal).shape if decoder else signal.shape
    colour = len(shape) == 3 and shape[0] == 3
    picture = _coloured(side, rng) if colour else _fit(_digit(seed, rng), side)
    return _picture(signal, picture, bool(file and file.inverts))


def _digit(seed: int, rng: np.random.Generator) -> Array:
    """A digit as somebody wrote it; from the eleventh seed on paler here and there, so that no two are the same."""
    digit = written((THREE + seed) % len(WRITTEN))
    return digit if seed < len(WRITTEN) else digit * rng.uniform(PALEST, 1, digit.shape).astype(np.float32)


def _coloured(side: tuple[int, int], rng: np.random.Generator) -> Array:
    """Red, green and blue `(3, *side)` in [0, 1], as smooth as pictures of things are."""
    return np.stack([_resized(each, side) for each in rng.random((3, SHADES, SHADES), np.float32)])


def _plain(signal: Signal, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Numbers in [0, 1), whole ones 0 or 1, or a short text each: what a model of which nothing is known may take."""
    if signal.kind is Kind.BYTES:
        return np.full(shape, b"text", object)
    numbers = rng.random(shape) if signal.kind.dtype.kind == "f" else rng.integers(0, 2, shape)
    return numbers.astype(signal.kind.dtype)


def _index(graph: Graph, name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Row numbers, or the rows of an event list."""
    frames = _reader(graph, name, "EventFrames")
    return rng.integers(0, _rows(graph, name), shape) if frames is None else _events(frames, rng)[None]


def _rows(graph: Graph, name: str) -> int:
    """Of how many rows the input says one; 1 where nobody here knows."""
    tables = []
    for synapse in graph.synapses:
        reader = graph.operator(synapse.target)
        if synapse.source == name and reader.kind == "Lookup":
            tables.append(reader.parameters()["table"].shape)
        elif synapse.source == name and reader.kind == "SelectRow":
            tables.append(graph.signals_into(synapse.target)[0].shape)
    return max(1, min((shape[0] for shape in tables), default=1))


def _tree(port: int, signal: Signal, rng: np.random.Generator) -> Array:
    """A part of a small tree's neighbourhood: features of which few are set, edges, or degrees."""
    if port == 0:
        return (rng.random((1, NODES, *signal.shape[1:])) < 0.02).astype(signal.kind.dtype)
    edges = np.array([((row - 1) // 3, row) for row in range(1, NODES)], np.int64)
    return edges[None] if port == 1 else np.bincount(edges.ravel(), minlength=NODES)[None]


def _file(graph: Graph, name: str, rng: np.random.Generator) -> Array:
    """A file that the input's decoder reads. Raises `UserError` for a decoder that this module does not know."""
    sound = _reader(graph, name, "WavDecode")
    if sound is not None:
        return files(_wav(sound, rng))
    events = _reader(graph, name, "EventDecode")
    if events is not None:
        decoded = next(s.target for s in graph.synapses if s.source == name)
        frames = _reader(graph, decoded, "EventFrames")
        return files(b"" if frames is None else _events(frames, rng).astype("<i8").tobytes())
    raise UserError(f"no sample is known for input {name!r}, a file; give one with --input FILE")


def _wav(decoder: Operator, rng: np.random.Generator) -> bytes:
    """A faint noise of the decoder's rate and length."""
    attributes = decoder.attributes()
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(attributes["sample_rate_hz"])
        sound.writeframes(rng.integers(-2000, 2000, attributes["samples"]).astype("<i2").tobytes())
    return file.getvalue()


def _events(frames: Operator, rng: np.random.Generator) -> Array:
    """Rows `(t_us, x, y, p)`, evenly over the sensor and the recording."""
    attributes = frames.attributes()
    last_us = int(attributes["steps"] * float(frames.parameters()["dt_s"]) * 1e6)
    limits = (last_us, attributes["width"], attributes["height"], 2)
    rows = np.stack([rng.integers(0, limit, EVENTS) for limit in limits], axis=1)
    return rows[np.argsort(rows[:, 0], kind="stable")].astype(np.int64)


def files(content: bytes) -> Array:
    """One file as a batch of one, which is how an input of bytes takes it."""
    array = np.empty(1, object)
    array[0] = content
    return array


def _port(graph: Graph, source: str, kind: str) -> int | None:
    """Where `source` enters an operator of that kind."""
    ports = [s.port for s in graph.synapses if s.source == source and graph.operator(s.target).kind == kind]
    return ports[0] if ports else None


def _reader(graph: Graph, source: str, kind: str) -> Operator | None:
    """The operator of that kind which reads `source`."""
    found = [graph.operator(s.target) for s in graph.synapses if s.source == source]
    return next((each for each in found if each.kind == kind), None)
