"""`quantize`: a model of the store, or a GGUF file, with weights of fewer bits under a name of its own."""

from __future__ import annotations

import msgspec

from synfire.base.errors import TemporaryError, UserError
from synfire.formats.gguf_quantize import quantize as quantize_file
from synfire.hub.assemble import write_manifest, written
from synfire.hub.files import ModelFiles, resolve
from synfire.hub.pull import TRIES, check_free
from synfire.hub.source import Into
from synfire.store import Layer, ModelName, Tagged
from synfire.store.layers import GGUF

QUANTIZED = "quantize"
"""What such a model has as its source."""


def quantize(model: str, name: ModelName, precision: str, into: Into) -> Tagged:
    """Let `name` stand for the model with its weights in `precision`; what a Modelfile says of it, and its adapters, go with it.

    Raises as `resolve` and `synfire.formats.gguf_quantize.quantize` do; `UserError` for a model that is no GGUF file.
    """
    check_free(name)
    files = resolve(model, into.store)
    if files.is_adapter or not files.is_gguf:
        raise UserError(
            f"{model} is no model in a GGUF file; convert it to one first, with llama.cpp's convert_hf_to_gguf.py"
        )
    described = msgspec.structs.replace(files.described, file_type=precision)
    for _ in range(TRIES):
        weights = _weights(model, files, precision, into)
        others = [each for each in files.manifest.layers if each.media_type != GGUF]
        made = into.store.commit(name, write_manifest(into.store.blobs, described, [weights, *others]), QUANTIZED)
        if made is not None:
            return made
    raise TemporaryError(
        f"blobs of {name} were removed while it was made, {TRIES} times; try again when nothing is removed"
    )


def _weights(model: str, files: ModelFiles, precision: str, into: Into) -> Layer:
    """The layer of the weights in their new precision, whose blob is in the store then."""
    try:
        digest = written(
            f"{files.digest} {precision}",
            f"{files.name} as {precision}",
            None,
            lambda write: quantize_file(files.weights, precision, write),
            into,
        )
    except UserError as error:  # which names a blob, where its user has named a model
        raise UserError(str(error).replace(str(files.weights), model)) from error
    return Layer(GGUF, f"sha256:{digest}", into.store.blobs.path(digest).stat().st_size)
