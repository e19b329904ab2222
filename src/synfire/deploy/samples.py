"""What models are measured on: the samples that a user gave for one, kept under SYNFIRE_HOME, else those that synfire has."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from synfire.base import paths
from synfire.base.errors import PermanentError, UnknownName, UserError
from synfire.engines.engine import ENGINES, PROCESSOR
from synfire.engines.profiles.samples import own_samples
from synfire.engines.profiles.whole import scores_of
from synfire.engines.samples import Samples, Source, part_of
from synfire.gateway.inputs import exact
from synfire.graph import Graph
from synfire.ops import Array, Clock, Kind, Signal
from synfire.plan import stage_graph
from synfire.store import BlobStore, Catalog
from synfire.store.files import explained
from synfire.store.locks import locked
from synfire.zoo.samples import UNIT_RANGE, check_unit_range, files

LABELS = "labels"
"""The array with the right class of each sample, unless an input of the model is called so."""

_KIND = "samples"


class _Kept(msgspec.Struct, frozen=True):
    """The samples of one model: what their `file` was called, and the `blob` that holds it."""

    file: str
    blob: str


def samples_of(graph: Graph) -> Source:
    """What the flat, simplified graph is measured on. Raises as the catalog does."""
    catalog = Catalog()
    if graph.whole or not catalog.path.exists():
        return own_samples(graph)
    known = catalog.kept(_KIND)
    if not known or (id := _id(graph)) not in known:
        return own_samples(graph)
    kept = msgspec.json.decode(catalog.current(_KIND, id), type=_Kept)
    return Source(kept.file, kept.blob, partial(_stored, graph, kept))


def keep_samples(graph: Graph, file: Path) -> None:
    """Measure the flat, simplified graph on the samples in an .npz file from now on, in place of those that it had.

    It holds an array for each input, by its name, whose first axis counts samples, then time steps where the input has them; files are
    byte strings, or rows of uint8. `labels`, beside them, are the right classes. Raises `UserError` for anything else.
    """
    if graph.whole:
        raise UserError(f"the model runs whole, and nothing of it is measured: {file} has no use; leave --samples out")
    with explained(file, "read"):
        content = file.read_bytes()
    _check_decoded(graph, _read(graph, content, str(file)), str(file))
    with locked(_lock()):
        kept = _Kept(file.name, _blobs().put(content))
        Catalog().keep(_KIND, _id(graph), msgspec.json.encode(kept))
        _sweep()


def forget_samples(graph: Graph) -> None:
    """Measure the flat, simplified graph on what synfire has again. One for which nothing was given is no error."""
    with locked(_lock()):
        Catalog().drop(_KIND, _id(graph))
        _sweep()


def _sweep() -> None:
    """Remove the blobs that no model is measured on any more."""
    catalog, blobs = Catalog(), _blobs()
    needed = {msgspec.json.decode(catalog.current(_KIND, each), type=_Kept).blob for each in catalog.kept(_KIND)}
    for blob in set(blobs) - needed:
        blobs.delete(blob)


def _blobs() -> BlobStore:
    return BlobStore(paths.home() / "samples")


def _lock() -> Path:
    return paths.home() / "samples.lock"


def _id(graph: Graph) -> str:
    """By what the model computes, whatever it is called, and by its inputs' names."""
    return " ".join([graph.content_digest(), *graph.inputs])


def _stored(graph: Graph, kept: _Kept, count: int | None) -> Samples:
    """All samples, or some, in an order of their own: files often have class after class.

    Raises `UserError` where they are gone or damaged.
    """
    blobs = _blobs()
    try:
        content = blobs.get(kept.blob)
    except (PermanentError, UnknownName) as error:
        blobs.delete(kept.blob)  # a damaged one would stand in the way of the same again
        raise UserError(
            f"the samples that were given as {kept.file} are damaged, or gone from {blobs.root}; give them again with `synfire build MODEL "
            "--samples FILE`, or do without them: --samples none"
        ) from error
    found = _read(graph, content, kept.file)
    order = np.random.default_rng(0).permutation(found.count)[:count]
    labels = None if found.labels is None else found.labels[order]
    return Samples.of(graph, part_of(graph, found.inputs, order), labels)


def _read(graph: Graph, content: bytes, where: str) -> Samples:
    """The samples in an .npz file, checked. Raises `UserError` that says what is wrong, and what is taken."""
    arrays = _arrays(content, where)
    labels = None if LABELS in graph.inputs else arrays.pop(LABELS, None)
    if arrays.keys() != graph.inputs.keys():
        raise UserError(
            f"{where} holds {sorted(arrays)}; the model takes {sorted(graph.inputs)}: name the arrays so ({LABELS!r} may stand beside them)"
        )
    inputs = {name: _input(where, name, signal, arrays[name]) for name, signal in graph.inputs.items()}
    if UNIT_RANGE in str(graph.metadata.get("input", "")):
        for name, array in inputs.items():
            check_unit_range(where, name, array)
    _check_counts(graph, {name: arrays[name].shape for name in inputs}, where)
    found = Samples.of(graph, inputs)
    return found if labels is None else Samples.of(graph, inputs, _labels(graph, found.count, labels, where))


def _arrays(content: bytes, where: str) -> dict[str, Array]:
    if not content.startswith(b"PK"):
        raise UserError(f"{where} is no .npz file, whatever its name says; write it with numpy.savez")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (ValueError, EOFError, OSError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{where} is no .npz of plain arrays ({error}); write it with numpy.savez") from error


def _input(where: str, name: str, signal: Signal, array: Array) -> Array:
    """An input's samples as graphs take them."""
    where = f"{where}: input {name!r}"
    if signal.kind is Kind.BYTES:
        return _files(where, array)
    own = ["any" if size < 0 else str(size) for size in signal.shape]
    axes = ["samples", *(["steps"] if signal.timed else []), *own]
    sizes = array.shape[len(axes) - len(own) :]
    if array.ndim != len(axes) or any(w not in (-1, n) for w, n in zip(signal.shape, sizes, strict=True)):
        raise UserError(f"{where} has shape {list(array.shape)}; it takes [{', '.join(axes)}]")
    if not array.size:
        raise UserError(f"{where} is empty, its shape is {list(array.shape)}; give one sample at least")
    if array.dtype.kind not in "biuf":
        raise UserError(f"{where} holds {array.dtype}; it takes numbers, as {signal.kind.dtype} has them")
    if array.dtype.kind == signal.kind.dtype.kind == "f":
        array = array.astype(signal.kind.dtype)
    array = exact(where, array, signal.kind)
    return np.ascontiguousarray(array.swapaxes(0, 1)) if signal.timed else array


def _files(where: str, array: Array) -> Array:
    """Files as models take them: one `bytes` object each."""
    strings = array.ndim == 1 and array.dtype.kind == "S"
    if not strings and (array.ndim != 2 or array.dtype != np.uint8):
        raise UserError(
            f"{where} holds {array.dtype} of shape {list(array.shape)}; it takes files: an array of byte strings [samples], or of uint8 "
            "[samples, bytes] where all are as long, or where zeros at the end matter"
        )
    if not len(array):
        raise UserError(f"{where} is empty; give one file at least")
    return np.concatenate([files(bytes(each) if strings else each.tobytes()) for each in array])


def _check_counts(graph: Graph, shapes: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Raise `UserError` where the inputs' numbers of samples or of time steps differ, or the model takes another number of these."""
    counts = {name: shape[0] for name, shape in shapes.items()}
    if len(set(counts.values())) > 1:
        raise UserError(f"{where}: the inputs differ in how many samples they have: {counts}; give as many of each")
    steps = {name: shapes[name][1] for name, signal in graph.inputs.items() if signal.timed}
    if len(set(steps.values())) > 1:
        raise UserError(f"{where}: the inputs differ in their number of time steps: {steps}; make them equal")
    wrong = [name for name, each in steps.items() if graph.steps not in (None, each)]
    if wrong:
        raise UserError(
            f"{where}: input {wrong[0]!r} has {steps[wrong[0]]} time steps; this model runs {graph.steps} a request"
        )


def _labels(graph: Graph, count: int, labels: Array, where: str) -> Array:
    """The right class of each sample, `(samples,)`."""
    where, scores = f"{where}: {LABELS!r}", scores_of(graph)
    if scores is None:
        raise UserError(f"{where} are classes, and the model has no output with a score per class; leave them out")
    if labels.shape != (count,):
        raise UserError(f"{where} has shape {list(labels.shape)}, and there are {count} samples; give [{count}]")
    if labels.dtype.kind not in "iu":
        raise UserError(f"{where} holds {labels.dtype}; give the number of each sample's class, a whole one from 0 on")
    classes = graph.output_signals()[scores].size
    outside = np.flatnonzero((labels < 0) | (labels >= classes))
    if outside.size:
        raise UserError(
            f"{where} says {labels[outside[0]]} of sample {outside[0]}; the model has the classes 0 to {classes - 1}"
        )
    return labels.astype(np.int64)


def _check_decoded(graph: Graph, found: Samples, where: str) -> None:
    """Raise `UserError` for a sample of which what comes before the first time step takes no file, row or number."""
    early = tuple(name for name in graph.order() if graph.signals()[name].clock is Clock.REQUEST)
    if not early:
        return
    program = ENGINES[PROCESSOR].installed().build(stage_graph(graph, early))
    for number in range(found.count):
        request = found.part(graph, number, 1)
        try:
            program.run(program.initial_state(1), {name: request[name] for name in program.inputs}, found.steps)
        except UserError as error:
            raise UserError(f"{where}: sample {number}: {error}") from error
