"""Language models with random weights, as GGUF files: food for engines' tests, where no trained one is at hand.

The vocabulary is some words of one token each, the space before a word, and all bytes. It says nothing that makes sense, always the same where no
chance is wanted, and mostly in words. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synfire.ops import Array

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}[{{ message['role'] }}] {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
TOOLS_TEMPLATE = (
    "{{ bos_token }}{% if tools %}[tools] {{ tools | tojson }} <tool_call>\n{% endif %}"
    "{% for message in messages %}[{{ message['role'] }}] {{ message['content'] }}"
    "{% for call in message['tool_calls'] or [] %}<tool_call>{{ call['function'] | tojson }}</tool_call>{% endfor %}\n"
    "{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
)
"""Of a model that may call functions, as Hermes writes calls."""

WORDS = (
    "",
    *("the", "and", "to", "of", "a", "in", "that", "is", "was", "for", "on", "with"),
    *("as", "his", "they", "be", "at", "one", "have", "this", "from", "or", "had", "by"),
    *("hot", "but", "some", "what", "there", "we", "can", "out", "other", "were", "all", "your"),
    *("when", "up", "use", "word", "how", "said", "an", "each", "she", "which", "do", "their"),
    *("time", "if", "will", "way", "about", "many", "then", "them", "would", "write", "king", "queen"),
    *("crown", "sword", "night", "day"),
)
SPECIAL = ("<unk>", "<s>", "</s>")
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
"""Types of tokens, as the file has them."""

F32, Q8_0 = 0, 8
"""Types of tensors: as they are, or in blocks of 32 with 8 bits each and a common scale."""

_ALIGNMENT = _BLOCK = 32
_TEXT, _ARRAY, _UINT32, _INT32, _FLOAT32, _BOOL = 8, 9, 4, 5, 6, 7


@dataclass(frozen=True)
class Size:
    """How large a model is; `words` is that of its vocabulary beside bytes, `type` how its matrices are kept."""

    layers: int = 2
    width: int = 64
    heads: int = 4
    wide: int = 128
    words: int = len(WORDS)
    type: int = F32

    @property
    def vocabulary(self) -> list[str]:
        """The words; those beyond the known ones are numbers."""
        return [*WORDS, *(f"no{number}" for number in range(len(WORDS), self.words))][: self.words]


TINY = Size()
SMALL = Size(6, 256, 4, 768, 1789, Q8_0)
"""About 5 million parameters, in 8 bits: as fast as the smallest models that are trained."""


def write_tiny_language_model(
    path: Path,
    template: str | None = TEMPLATE,
    context: int = 256,
    seed: int = 0,
    more: Mapping[str, Any] | None = None,
    size: Size = TINY,
) -> Path:
    """Write the model, with that chat template or without one, and with `more` metadata; give back the path."""
    metadata = {**_metadata(template, context, size), **(more or {})}
    tensors = tensors_of(seed, size)
    path.write_bytes(_gguf(metadata, tensors, size.type))
    return path


def tensors_of(seed: int = 0, size: Size = TINY) -> dict[str, Array]:
    """The model's weights, by the names that GGUF has for them."""
    return _tensors(np.random.default_rng(seed), size)


def _metadata(template: str | None, context: int, size: Size) -> dict[str, Any]:
    tokens = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *(f"▁{word}" for word in size.vocabulary)]
    types = [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * size.words]
    found = {
        "general.architecture": "llama",
        "general.name": "Tiny",
        "general.file_type": 0,
        "llama.context_length": context,
        "llama.embedding_length": size.width,
        "llama.block_count": size.layers,
        "llama.feed_forward_length": size.wide,
        "llama.rope.dimension_count": size.width // size.heads,
        "llama.attention.head_count": size.heads,
        "llama.attention.head_count_kv": size.heads,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [0.0 if kind != NORMAL else -1.0 for kind in types],
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.bos_token_id": SPECIAL.index("<s>"),
        "tokenizer.ggml.eos_token_id": SPECIAL.index("</s>"),
        "tokenizer.ggml.unknown_token_id": SPECIAL.index("<unk>"),
        "tokenizer.ggml.add_bos_token": True,
    }
    return found if template is None else {**found, "tokenizer.chat_template": template}


def _tensors(rng: np.random.Generator, size: Size) -> dict[str, Array]:
    vocabulary, width, wide = len(SPECIAL) + 256 + size.words, size.width, size.wide

    def weights(*shape: int, scale: float = 1.0) -> Array:
        return rng.normal(0, scale / np.sqrt(shape[-1]), shape).astype(np.float32)

    output = weights(vocabulary, width, scale=4.0)
    output[: len(SPECIAL) + 256] *= 0.1  # mostly words
    found = {"token_embd.weight": weights(vocabulary, width, scale=8.0)}
    for layer in range(size.layers):
        found |= {f"blk.{layer}.{name}.weight": np.ones(width, np.float32) for name in ("attn_norm", "ffn_norm")}
        found |= {f"blk.{layer}.attn_{name}.weight": weights(width, width) for name in ("q", "k", "v", "output")}
        found |= {f"blk.{layer}.ffn_{name}.weight": weights(wide, width) for name in ("gate", "up")}
        found[f"blk.{layer}.ffn_down.weight"] = weights(width, wide)
    return {**found, "output_norm.weight": np.ones(width, np.float32), "output.weight": output}


def _gguf(metadata: Mapping[str, Any], tensors: Mapping[str, Array], type: int) -> bytes:
    file = io.BytesIO()
    file.write(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata)))
    for key, value in metadata.items():
        file.write(_text(key) + _typed(value))
    offset = 0
    kept = {name: _kept(array, type if array.ndim > 1 else F32) for name, array in tensors.items()}
    for name, array in tensors.items():
        shape = array.shape[::-1]
        file.write(_text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kept[name][0], offset))
        offset += -(-len(kept[name][1]) // _ALIGNMENT) * _ALIGNMENT
    file.write(bytes(-file.tell() % _ALIGNMENT))
    for _, content in kept.values():
        file.write(content + bytes(-len(content) % _ALIGNMENT))
    return file.getvalue()


def _kept(array: Array, type: int) -> tuple[int, bytes]:
    """The tensor's type, and its bytes."""
    if type == F32:
        return F32, array.astype("<f4").tobytes()
    blocks = array.reshape(-1, _BLOCK)
    scales = np.abs(blocks).max(axis=1, keepdims=True) / 127
    levels = np.rint(blocks / np.where(scales, scales, 1)).astype(np.int8)
    both = np.concatenate([scales.astype("<f2").view(np.uint8), levels.view(np.uint8)], axis=1)
    return Q8_0, both.tobytes()


def _text(value: str) -> bytes:
    content = value.encode()
    return struct.pack("<Q", len(content)) + content


def _typed(value: Any) -> bytes:
    if isinstance(value, list):
        return struct.pack("<I", _ARRAY) + _array(value)
    kind, content = _plain(value)
    return struct.pack("<I", kind) + content


def _array(values: Sequence[Any]) -> bytes:
    """The kind of its items, their number, and them; whole numbers have a sign there."""
    kind = _plain(values[0])[0]
    kind = _INT32 if kind == _UINT32 else kind
    return struct.pack("<IQ", kind, len(values)) + b"".join(content for _, content in map(_plain, values))


def _plain(value: Any) -> tuple[int, bytes]:
    if isinstance(value, bool):
        return _BOOL, struct.pack("<?", value)
    if isinstance(value, int):
        return _UINT32, struct.pack("<I", value)
    if isinstance(value, float):
        return _FLOAT32, struct.pack("<f", value)
    return _TEXT, _text(value)
