"""A Hugging Face directory as a graph: one operator, which is the whole model, or an adapter together with its model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors

from synfire.base.errors import UserError
from synfire.formats.format import FORMATS, Format
from synfire.formats.gguf_model import MOST_CONTEXT, STREAMS, language_graph
from synfire.formats.huggingface import Folder, is_folder, read_folder
from synfire.formats.weights import digest_of
from synfire.graph import Graph
from synfire.ops.language_model import LanguageModel
from synfire.store.files import explained

FORMAT = "safetensors"
ADAPTER = "adapter/"
"""What the names of an adapter's files begin with, beside those of its model."""

_FLOAT_BYTES = 4


class HuggingFace(Format):
    """Weights as safetensors, with config and tokenizer; or a LoRA adapter, which needs the directory of its model, too."""

    name = "huggingface"
    looks_like = "a folder with config.json and .safetensors"

    def recognises(self, path: Path) -> bool:
        return path.is_dir() and is_folder(path)

    def read(self, path: Path, context: int = 0, streams: int = STREAMS, base: str = "") -> Graph:
        """The whole model as one operator; `context` and `streams` as for GGUF files. `base` is the directory of an adapter's model, where it
        is not the one that the adapter names.

        Raises `UserError` for files that are missing or damaged, for an adapter whose model is not found or is another one, and for a
        model that gives no text.
        """
        found = read_folder(path)
        if not found.is_adapter:
            if base and Path(base).resolve() != path.resolve():
                raise UserError(f"{path} is a whole model, which needs no base; leave it out")
            return _graph(found, (), context, streams)
        model = read_folder(_base(found, base))
        _check_fits(found, model)
        return _graph(model, _files(found, ADAPTER), context, streams)


def _graph(folder: Folder, adapter: Sequence[tuple[str, str]], context: int, streams: int) -> Graph:
    _check_speaks(folder)
    size = sum((folder.path / name).stat().st_size for name in folder.weights)
    model = LanguageModel(
        FORMAT, (*_files(folder), *adapter), size, _context(folder, context), streams, _token_bytes(folder.config)
    )
    return language_graph(model, _card(folder))


def _files(folder: Folder, prefix: str = "") -> tuple[tuple[str, str], ...]:
    """The directory's files that an engine reads, each with its digest, the weights first."""
    names = (*folder.weights, *(name for name in folder.others if "/" not in name))
    return tuple((prefix + name, digest_of(folder.path / name)) for name in names)


def _check_speaks(folder: Folder) -> None:
    kinds = folder.config.get("architectures") or []
    if kinds and not any(
        str(kind).endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")) for kind in kinds
    ):
        raise UserError(
            f"{folder.path} is a {', '.join(map(str, kinds))}, which does not go on from a text; language models are {{…}}ForCausalLM"
        )


def _base(adapter: Folder, wanted: str) -> Path:
    """The directory of an adapter's model: as was said, else as the adapter says, there or beside it."""
    named = str(adapter.config.get("base_model_name_or_path") or "")
    places = (
        [Path(wanted)] if wanted else [Path(named), adapter.path.resolve().parent / Path(named).name] if named else []
    )
    for place in places:
        if is_folder(place) and place.resolve() != adapter.path.resolve():
            return place
    tried = ", ".join(map(str, places)) or "it names none"
    raise UserError(
        f"{adapter.path} is an adapter of the model {named or '?'}, whose directory is not found ({tried}); say it with --base DIRECTORY"
    )


def _check_fits(adapter: Folder, model: Folder) -> None:
    """Raise `UserError` unless each pair of the adapter's matrices fits a matrix of the model."""
    shapes = _shapes(model)
    for name, shape in _shapes(adapter).items():
        layer, found, _ = name.removeprefix("base_model.model.").partition(".lora_")
        theirs = shapes.get(f"{layer}.weight")
        axis = {"A": 1, "B": 0}.get(name[name.find(".lora_") + 6 : name.find(".lora_") + 7])
        if not found or axis is None or len(shape) != 2:
            continue  # another kind of adapter's: its engine says what it takes
        if theirs is None or theirs[axis] != shape[axis]:
            has = "has no such layer" if theirs is None else f"has one of {list(theirs)}"
            raise UserError(
                f"{adapter.path} is an adapter of another model than {model.path}: its {name} is {list(shape)}, and the model {has}; name its "
                "own model with --base DIRECTORY"
            )


def _shapes(folder: Folder) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for name in folder.weights:
        with safetensors.safe_open(folder.path / name, framework="numpy") as content:
            found |= {key: tuple(content.get_slice(key).get_shape()) for key in content.keys()}  # noqa: SIM118
    return found


def _context(folder: Folder, wanted: int) -> int:
    trained = folder.context_length or MOST_CONTEXT
    if not 0 <= wanted <= trained:
        raise UserError(
            f"{folder.path} was trained for {trained} tokens, and a context of {wanted} was asked for; ask for 1 to {trained}, or 0 for the "
            "usual"
        )
    return wanted or min(trained, MOST_CONTEXT)


def _token_bytes(config: Mapping[str, Any]) -> int:
    """What the keys and values of one token take, in bytes; 0 for an architecture that does not say."""
    layers, heads, width = (
        config.get(f"num_{each}") for each in ("hidden_layers", "attention_heads", "key_value_heads")
    )
    size, hidden = config.get("head_dim"), config.get("hidden_size")
    if not (isinstance(layers, int) and isinstance(heads, int) and isinstance(hidden, int) and heads):
        return 0
    pairs = width if isinstance(width, int) else heads
    return 2 * layers * pairs * (size if isinstance(size, int) else hidden // heads) * _FLOAT_BYTES


def _card(folder: Folder) -> dict[str, Any]:
    """What is told of the model, and what it takes to render a chat as it was trained for."""
    texts = _json(folder, "tokenizer_config.json")
    bos = _token(texts, "bos_token")
    return {
        "architecture": folder.architecture,
        "name": folder.path.resolve().name,
        "precision": folder.precision,
        "parameters": folder.parameters,
        "trained_context": folder.context_length,
        "chat_template": folder.chat_template,
        "bos_token": bos,
        "eos_token": _token(texts, "eos_token"),
        "adds_bos": _adds_bos(folder, texts, bos),
        "bos_id": number if isinstance(number := folder.config.get("bos_token_id"), int) else None,
    }


def _token(texts: Mapping[str, Any], name: str) -> str:
    found = texts.get(name)
    return str(found.get("content", "") if isinstance(found, dict) else found or "")


def _adds_bos(folder: Folder, texts: Mapping[str, Any], bos: str) -> bool:
    """Whether the tokenizer puts the token of the beginning before a text: its last step says so, where it is told."""
    tokenizer = _json(folder, "tokenizer.json")
    if not tokenizer:
        return bool(texts.get("add_bos_token", True))
    step = tokenizer.get("post_processor") or {}
    parts = step.get("processors", [step])
    begun_with = [part["single"][0].get("SpecialToken", {}).get("id") for part in parts if part.get("single")]
    return bool(bos) and begun_with[:1] == [bos]


def _json(folder: Folder, name: str) -> Mapping[str, Any]:
    if name not in folder.others:
        return {}
    with explained(folder.path / name, "read"):
        found = json.loads((folder.path / name).read_bytes())
    return found if isinstance(found, dict) else {}


FORMATS.add(HuggingFace.name, HuggingFace())
