"""The files that a model is made of, each with the kind of layer that it becomes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from synfire.base.errors import UserError
from synfire.formats.gguf import Gguf, is_gguf, read_gguf
from synfire.formats.huggingface import Folder, is_folder, read_folder
from synfire.formats.onnx_file import OnnxFile, read_onnx
from synfire.store.layers import (
    ADAPTER_FILE,
    ADAPTER_SAFETENSORS,
    GGUF,
    GGUF_ADAPTER,
    MODEL_FILE,
    ONNX,
    SAFETENSORS,
    checked_file_name,
)


@dataclass(frozen=True)
class Piece:
    """A file that becomes a layer; `name` is its path in a model's directory, empty for a file that stands alone."""

    media_type: str
    path: Path
    name: str = ""


class Described(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of a model's weights: the config layer, in the fields that Ollama's has and three of our own."""

    model_format: str = ""
    """`gguf`, `safetensors` or `onnx`."""
    model_family: str = ""
    """The architecture: `llama`."""
    model_type: str = ""
    """The size for people: `5.2M`."""
    file_type: str = ""
    """The precision: `Q8_0`, `BF16`."""
    parameters: int = 0
    context_length: int | None = None
    requires: str = ""
    """The version of Ollama that the Modelfile asks for."""


def pieces(path: Path) -> tuple[list[Piece], Described]:
    """The files of a GGUF file, which is one, of a Hugging Face directory, or of an ONNX model, read and checked; and what they are.

    Raises `UserError` for what is neither, is damaged, or is one part of several.
    """
    if path.is_dir() and is_folder(path):
        folder = read_folder(path)
        return _of_folder(folder), described_folder(folder)
    if path.is_file() and is_gguf(path):
        return [gguf_piece(read_gguf(path))], described_gguf(read_gguf(path))
    if is_onnx(path):
        model = read_onnx(path)
        return _of_onnx(model), Described("onnx", model.producer or "onnx")
    raise UserError(
        f"{path} is no model of weights: neither a .gguf or .onnx file nor a directory with config.json and safetensors; name one of these"
    )


def is_onnx(path: Path) -> bool:
    """Whether the path is an ONNX file's."""
    return path.is_file() and path.suffix.lower() == ".onnx"


def gguf_piece(found: Gguf) -> Piece:
    """The piece that a GGUF file is. Raises `UserError` for one part of several."""
    number, count = found.split
    if count > 1:
        raise UserError(
            f"{found.path} is part {number + 1} of {count} of a model; `synfire pull {found.path}` joins them, if all lie there"
        )
    return Piece(GGUF_ADAPTER if found.is_adapter else GGUF, found.path)


def described_gguf(found: Gguf) -> Described:
    """What a GGUF file holds."""
    return Described(
        "gguf", found.architecture, _size(found.parameters), found.precision, found.parameters, found.context_length
    )


def described_folder(found: Folder) -> Described:
    """What a Hugging Face directory holds."""
    return Described(
        "safetensors",
        found.architecture,
        _size(found.parameters),
        found.precision,
        found.parameters,
        found.context_length,
    )


def described_config(content: bytes) -> Described:
    """What a config layer says, also Ollama's, which says less; nothing where it is damaged."""
    try:
        return msgspec.json.decode(content, type=Described)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Described()


def _of_folder(folder: Folder) -> list[Piece]:
    weights, other = (ADAPTER_SAFETENSORS, ADAPTER_FILE) if folder.is_adapter else (SAFETENSORS, MODEL_FILE)
    kinds: list[tuple[str, str]] = [(weights, name) for name in folder.weights]
    kinds += [(other, name) for name in folder.others]
    return [Piece(kind, folder.path / name, name) for kind, name in kinds]


def _of_onnx(model: OnnxFile) -> list[Piece]:
    beside = (checked_file_name(name, str(model.path)) for name in model.external)
    return [Piece(ONNX, model.path, model.path.name), *(Piece(ONNX, model.path.parent / name, name) for name in beside)]


def _size(parameters: int) -> str:
    """`5.2M`, as Ollama writes it."""
    for unit, letter in ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K")):
        if parameters >= unit:
            return f"{parameters / unit:.1f}{letter}"
    return str(parameters)
