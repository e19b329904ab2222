"""Reads what a user wants to send: pictures, sounds, arrays, events."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from synfire.base.errors import UserError
from synfire.ops import Array, Kind, Signal
from synfire.zoo import files, picture_inputs
from synfire.zoo.samples import check_unit_range

PICTURES = (".png", ".jpg", ".jpeg")


def read_inputs(file: Path, signals: Mapping[str, Signal], in_unit_range: bool = False) -> dict[str, Array]:
    """The file as one request's arrays, `(batch, …)` or `(steps, batch, …)`, each in the dtype of its signal.

    `in_unit_range` says that the model's values lie in [0, 1].
    Raises `UserError` when the file cannot be read or is nothing that the model takes.
    """
    found = _read(file, signals)
    for name, array in found.items() if in_unit_range else ():
        check_unit_range(str(file), name, array)
    return found


def _read(file: Path, signals: Mapping[str, Signal]) -> dict[str, Array]:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}; check the path") from error
    if file.suffix == ".npz":
        return _arrays(file, content, signals)
    name, signal = _only(file, signals)
    if file.suffix == ".npy":
        return {name: _fitted(name, signal, _load(file, content))}
    if signal.kind is Kind.BYTES:
        return {name: files(content)}
    if file.suffix.lower() in PICTURES:
        return picture_inputs(signals, _grey(file, content))
    raise UserError(f"input {name!r} is {signal}; {file.name} does not fit it: send .npy, .npz or a picture")


def _only(file: Path, signals: Mapping[str, Signal]) -> tuple[str, Signal]:
    if len(signals) != 1:
        raise UserError(f"the model takes {sorted(signals)}; {file.name} is one array: send an .npz with those names")
    return next(iter(signals.items()))


def _arrays(file: Path, content: bytes, signals: Mapping[str, Signal]) -> dict[str, Array]:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (ValueError, zipfile.BadZipFile, OSError) as error:
        raise UserError(f"{file} is no .npz of plain arrays ({error}); write it with numpy.savez") from error
    if arrays.keys() != signals.keys():
        raise UserError(f"{file} holds {sorted(arrays)}; the model takes {sorted(signals)}: name the arrays so")
    return {name: _fitted(name, signals[name], array) for name, array in arrays.items()}


def _load(file: Path, content: bytes) -> Array:
    if not content.startswith(b"\x93NUMPY"):
        raise UserError(f"{file} is no .npy file, whatever its name says; write it with numpy.save")
    try:
        return np.asarray(np.load(io.BytesIO(content), allow_pickle=False))
    except (ValueError, EOFError, OSError) as error:
        raise UserError(f"{file} is no .npy of a plain array ({error}); write it with numpy.save") from error


def _fitted(name: str, signal: Signal, array: Array) -> Array:
    """The array with its batch axis, in the signal's dtype; files may be given as arrays of bytes (uint8)."""
    if signal.kind is Kind.BYTES:
        return files(array.astype("<i8").tobytes() if array.ndim == 2 else array.tobytes())
    axes = len(signal.shape) + (1 if signal.timed else 0)
    if array.ndim == axes:
        array = array[:, None] if signal.timed else array[None]
    own = array.shape[array.ndim - len(signal.shape) :]
    if array.ndim != axes + 1 or any(w not in (-1, n) for w, n in zip(signal.shape, own, strict=True)):
        raise UserError(
            f"input {name!r} has shape {list(array.shape)}; it takes {signal}, with or without a batch axis"
        )
    if array.dtype.kind not in "biuf":
        raise UserError(f"input {name!r} holds {array.dtype}; it takes {signal.kind.dtype}")
    return array.astype(signal.kind.dtype)


def _grey(file: Path, content: bytes) -> Array:
    """Grey levels in [0, 1]."""
    try:
        image = Image.open(io.BytesIO(content), formats=("PNG", "JPEG")).convert("L")
    except UnidentifiedImageError as error:
        raise UserError(f"{file} is no PNG or JPEG, whatever its name says; save it as one") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{file} is damaged ({error}); save it again") from error
    return np.asarray(image, np.float32) / 255
