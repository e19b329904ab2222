"""`create`: a model from a Modelfile; and the Modelfile of a model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from synfire.base.errors import TemporaryError, UserError
from synfire.formats.modelfile import Instruction, Modelfile
from synfire.hub.assemble import manifest_of_path, put_layer, write_manifest
from synfire.hub.files import ModelFiles, stored
from synfire.hub.pieces import Described, described_config
from synfire.hub.pull import TRIES, check_free
from synfire.hub.source import Into
from synfire.store import Layer, ModelName, Tagged
from synfire.store.layers import (
    ADAPTER_FILE,
    ADAPTER_SAFETENSORS,
    GGUF,
    GGUF_ADAPTER,
    LICENSE,
    MESSAGES,
    PARAMS,
    SAFETENSORS,
    SYSTEM,
    TEMPLATE,
    decode_manifest,
)

CREATED = "Modelfile"
"""What a created model has as its source."""


def create(name: ModelName, modelfile: Modelfile, folder: Path, into: Into) -> Tagged:
    """Make the model of a Modelfile, whose paths are those from `folder`, and let `name` stand for it, whatever it stood for before.

    Raises `UserError`, with the line, for a base or adapter that is none or does not fit; as `manifest_of_path` does.
    """
    check_free(name)
    for _ in range(TRIES):
        made = into.store.commit(name, _Making(modelfile, folder, into).manifest(), CREATED)
        if made is not None:
            return made
    raise TemporaryError(
        f"blobs of {name} were removed while it was made, {TRIES} times; try again when nothing is removed"
    )


def modelfile_of(files: ModelFiles) -> Modelfile:
    """A Modelfile from which the model is created again on this machine."""
    made = [] if files.is_adapter else [Instruction("FROM", str(files.weights))]
    made += [Instruction("ADAPTER" if made else "FROM", str(each)) for each in files.adapters]
    for word, value in (("TEMPLATE", files.template), ("SYSTEM", files.system)):
        made += [Instruction(word, value)] if value is not None else []
    for key, value in files.params.items():
        made += [
            Instruction("PARAMETER", _written(each), key) for each in (value if isinstance(value, list) else [value])
        ]
    made += [Instruction("MESSAGE", each.content, each.role) for each in files.messages]
    made += [Instruction("LICENSE", each) for each in files.licenses]
    if files.described.requires:
        made.append(Instruction("REQUIRES", files.described.requires))
    return Modelfile(tuple(made))


class _Making:
    """One model in the making."""

    def __init__(self, modelfile: Modelfile, folder: Path, into: Into) -> None:
        self._file, self._folder, self._into = modelfile, folder, into
        self._blobs = into.store.blobs

    def manifest(self) -> bytes:
        base, described = self._model(self._file.base)
        layers = [*base, *self._adapters(base, described)]
        for media_type, word in ((TEMPLATE, "TEMPLATE"), (SYSTEM, "SYSTEM")):
            layers = self._with_text(layers, media_type, self._file.last(word))
        layers = self._with_params(layers)
        if self._file.messages:
            layers = self._with(layers, MESSAGES, msgspec.json.encode(self._file.messages))
        layers += [put_layer(self._blobs, LICENSE, each.value.encode()) for each in self._file.all("LICENSE")]
        requires = self._file.last("REQUIRES") or described.requires
        return write_manifest(self._blobs, msgspec.structs.replace(described, requires=requires), _once(layers))

    def _model(self, each: Instruction) -> tuple[list[Layer], Described]:
        """The layers of what an instruction names, and what they are: a model in the store, or one that is put there."""
        store = self._into.store
        if ModelName.suits(each.value) and store.find(ModelName.parse(each.value)):
            files = stored(ModelName.parse(each.value), store)
            return list(files.manifest.layers), files.described
        path = self._folder / Path(each.value).expanduser()
        if not path.exists():
            known = ", ".join(str(one.name) for one in store.names()) or "none"
            raise self._wrong(
                each,
                f"{each.value!r} is no model in the store and no file or directory (models: {known}); pull it first",
            )
        manifest = decode_manifest(manifest_of_path(path, self._into), str(path))
        return list(manifest.layers), described_config(self._blobs.get(manifest.config.sha256))

    def _adapters(self, base: Sequence[Layer], described: Described) -> list[Layer]:
        found: list[Layer] = []
        for each in self._file.all("ADAPTER"):
            layers, own = self._model(each)
            self._check_adapter(each, base, described, layers, own)
            found += [
                layer for layer in layers if layer.media_type in (GGUF_ADAPTER, ADAPTER_SAFETENSORS, ADAPTER_FILE)
            ]
        if sum(layer.name == "adapter_config.json" for layer in (*base, *found)) > 1:
            raise UserError(
                "the Modelfile names several adapters that are directories, and a model holds one; convert them to GGUF"
            )
        return found

    def _check_adapter(
        self, each: Instruction, base: Sequence[Layer], described: Described, layers: Sequence[Layer], own: Described
    ) -> None:
        kinds = {layer.media_type for layer in layers}
        if not kinds & {GGUF_ADAPTER, ADAPTER_SAFETENSORS}:
            raise self._wrong(
                each, f"{each.value!r} is a model and no adapter; name a LoRA adapter, GGUF or PEFT directory"
            )
        weights = {layer.media_type for layer in base}
        if not weights & {GGUF, SAFETENSORS}:
            raise self._wrong(each, f"{self._file.base.value!r} of FROM is an adapter itself; name the model there")
        if (GGUF in weights) != (GGUF_ADAPTER in kinds):
            raise self._wrong(
                each,
                f"{each.value!r} is {own.model_format} and the model of FROM {described.model_format}; convert one to the other's format",
            )
        if GGUF in weights and own.model_family and own.model_family != described.model_family:
            raise self._wrong(
                each,
                f"{each.value!r} is an adapter of another base: of a {own.model_family} model, and FROM is a {described.model_family}",
            )

    def _with_text(self, layers: list[Layer], media_type: str, text: str | None) -> list[Layer]:
        """With this text in place of what the base had; an empty one takes it away."""
        if text is None:
            return layers
        if not text:
            return [layer for layer in layers if layer.media_type != media_type]
        return self._with(layers, media_type, text.encode("utf-8", "surrogateescape"))

    def _with_params(self, layers: list[Layer]) -> list[Layer]:
        """With the parameters of the file, and those of the base that it does not name."""
        own = self._file.params
        before = [layer for layer in layers if layer.media_type == PARAMS]
        if not own:
            return layers
        inherited = msgspec.json.decode(self._blobs.get(before[0].sha256)) if before else {}
        return self._with(layers, PARAMS, msgspec.json.encode({**inherited, **own}))

    def _with(self, layers: list[Layer], media_type: str, content: bytes) -> list[Layer]:
        kept = [layer for layer in layers if layer.media_type != media_type]
        return [*kept, put_layer(self._blobs, media_type, content)]

    def _wrong(self, each: Instruction, what: str) -> UserError:
        return UserError(f"the Modelfile, line {each.line}, {each.word}: {what}")


def _once(layers: Iterable[Layer]) -> list[Layer]:
    """Each layer once, as where a licence is that of the base."""
    return list(dict.fromkeys(layers))


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
