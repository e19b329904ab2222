"""A GGUF file of weights as a graph: one operator, which is the whole model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synfire.base.errors import UserError
from synfire.formats.format import FORMATS, Format
from synfire.formats.gguf import Gguf, is_gguf
from synfire.formats.gguf_parts import read_parts
from synfire.formats.weights import digest_of
from synfire.graph import Graph, Synapse
from synfire.ops import Clock, Kind, Signal
from synfire.ops.language_model import LanguageModel, Pooling

OPERATOR, REQUEST, PIECES = "model", "request", "pieces"

MOST_CONTEXT = 4096
"""Tokens that an answer with its prompt may have, where nobody says otherwise: memory is set aside for as many as the model was
trained for else, which may be 10⁵, for each answer at a time."""

STREAMS = 8
"""Answers at a time: beyond it each gets slower, and more memory is set aside."""

_HALF_BYTES = 2
"""Of each key and value, as llama.cpp keeps them."""


class GgufModel(Format):
    """Weights for llama.cpp: architecture, tokenizer and chat template in one file."""

    name = "gguf"
    looks_like = "a .gguf file"

    def recognises(self, path: Path) -> bool:
        return path.is_file() and is_gguf(path)

    def read(self, path: Path, context: int = 0, streams: int = STREAMS) -> Graph:
        """The whole model as one operator. `context` is how many tokens an answer and its prompt may have, 0 for as many as the model
        was trained for, up to 4096; `streams` is how many answers there may be at a time.

        A model in several files is named by its first. Raises `UserError` for damaged or missing files, an adapter without its model,
        another part than the first, and what is no language model.
        """
        parts = read_parts(path)
        file = parts[0]
        _check(file)
        model = LanguageModel(
            "gguf",
            tuple((part.path.name, digest_of(part.path)) for part in parts),
            sum(part.path.stat().st_size for part in parts),
            _context(file, context),
            streams,
            token_bytes(file),
            _pooling(file),
        )
        return language_graph(model, {**_card(file), "parameters": sum(part.parameters for part in parts)})


def language_graph(model: LanguageModel, card: Mapping[str, Any]) -> Graph:
    """The graph of one language model; `card` is what callers and gateways want to know of it."""
    request = Signal((), Kind.BYTES, Clock.REQUEST)
    return Graph(
        {OPERATOR: model},
        (Synapse(REQUEST, OPERATOR),),
        {REQUEST: request},
        {PIECES: OPERATOR},
        {"language": dict(card)},
    )


def token_bytes(file: Gguf) -> int:
    """What the keys and values of one token take, in bytes; 0 for an architecture that does not say."""
    found = {name: file.metadata.get(f"{file.architecture}.{key}") for name, key in _SIZES.items()}
    layers, heads, width = found["layers"], found["heads"], found["width"]
    if not (isinstance(layers, int) and isinstance(heads, int) and isinstance(width, int) and heads):
        return 0
    pairs = found["pairs"] if isinstance(found["pairs"], int) else heads
    size = found["size"] if isinstance(found["size"], int) else width // heads
    return 2 * layers * pairs * size * _HALF_BYTES


_SIZES = {
    "layers": "block_count",
    "heads": "attention.head_count",
    "pairs": "attention.head_count_kv",
    "size": "attention.key_length",
    "width": "embedding_length",
}


def _check(file: Gguf) -> None:
    if file.is_adapter:
        raise UserError(f"{file.path} is an adapter, and no model of its own; serve the model that it belongs to")
    if "tokenizer.ggml.model" not in file.metadata:
        raise UserError(
            f"{file.path} has no tokenizer, so it is no language model; architecture: {file.architecture or 'unknown'}"
        )


def _context(file: Gguf, wanted: int) -> int:
    trained = file.context_length or MOST_CONTEXT
    if wanted > trained:
        raise UserError(
            f"{file.path} was trained for {trained} tokens, and a context of {wanted} was asked for; ask for less"
        )
    if wanted < 0:
        raise UserError(f"a context of {wanted} tokens cannot be; ask for 1 or more, or 0 for the usual")
    return wanted or min(trained, MOST_CONTEXT)


_POOLINGS: dict[int, Pooling] = {1: "mean", 2: "cls", 3: "last", 4: "rank"}


def _pooling(file: Gguf) -> Pooling:
    """How the file's model makes a vector of a text; empty for one that was trained to make text."""
    told = _POOLINGS.get(file.metadata.get(f"{file.architecture}.pooling_type", 0), "")
    reads_both_ways = file.metadata.get(f"{file.architecture}.attention.causal") is False
    return told or ("mean" if reads_both_ways else "")


def _card(file: Gguf) -> dict[str, Any]:
    """What is told of the model, and what it takes to render a chat as it was trained for."""
    return {
        "architecture": file.architecture,
        "name": str(file.metadata.get("general.name", "")),
        "precision": file.precision,
        "parameters": file.parameters,
        "trained_context": file.context_length,
        "chat_template": file.chat_template,
        "bos_token": _token(file, "bos"),
        "eos_token": _token(file, "eos"),
        "adds_bos": bool(file.metadata.get("tokenizer.ggml.add_bos_token", True)),
        "bos_id": file.metadata.get("tokenizer.ggml.bos_token_id"),
        "fill_in": _fill_in(file),
        "tokenizer": str(file.metadata.get("tokenizer.ggml.model", "")),
    }


def _fill_in(file: Gguf) -> list[int] | None:
    """The tokens before a prefix, before a suffix, and before what belongs between them; None for a model that was not trained so."""
    found = [_fim(file, name) for name in ("pre", "suf", "mid")]
    return None if None in found else [number for number in found if number is not None]


def _fim(file: Gguf, name: str) -> int | None:
    key = f"tokenizer.ggml.fim_{name}_token_id"
    if key in file.metadata:
        number = file.metadata[key]
        return number if isinstance(number, int) else None
    tokens = file.metadata.get("tokenizer.ggml.tokens", ())
    return next((tokens.index(text) for text in _FIM[name] if text in tokens), None)


_FIM = {
    "pre": ("<|fim_prefix|>", "<fim_prefix>", "<fim-prefix>", "<PRE>"),
    "suf": ("<|fim_suffix|>", "<fim_suffix>", "<fim-suffix>", "<SUF>"),
    "mid": ("<|fim_middle|>", "<fim_middle>", "<fim-middle>", "<MID>"),
}
"""What those tokens are called, where a file does not say which they are: Qwen's and CodeGemma's, StarCoder's, Granite's, Code Llama's."""


def _token(file: Gguf, which: str) -> str:
    """The text of a token that stands for the beginning or the end; empty where there is none."""
    number, tokens = (
        file.metadata.get(f"tokenizer.ggml.{which}_token_id"),
        file.metadata.get("tokenizer.ggml.tokens", ()),
    )
    return str(tokens[number]) if isinstance(number, int) and 0 <= number < len(tokens) else ""


FORMATS.add(GgufModel.name, GgufModel())
