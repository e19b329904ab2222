"""Small files of weights of every kind, with random numbers: food for tests of the store, of pulling and of readers."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from synfire.formats.gguf import MAGIC
from synfire.ops import Array

TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
_TYPES = {"float32": 0, "float16": 1, "int8": 24}
_LETTERS: Mapping[int, str] = {4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q"}


class Typed(tuple[int, Any]):
    """A value with the number of its type in GGUF, where the usual one of its Python type is not meant."""

    def __new__(cls, kind: int, value: Any) -> Typed:
        return super().__new__(cls, (kind, value))


def gguf(metadata: Mapping[str, Any], tensors: Mapping[str, Array], alignment: int = 32, version: int = 3) -> bytes:
    """A GGUF file of these metadata and tensors."""
    infos, data = [], b""
    for name, array in tensors.items():
        shape = array.shape[::-1]
        info = _text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        infos.append(info + struct.pack("<IQ", _TYPES[array.dtype.name], len(data)))
        data += array.tobytes() + bytes(-array.nbytes % alignment)
    pairs = b"".join(_text(key) + _typed(value) for key, value in metadata.items())
    header = MAGIC + struct.pack("<IQQ", version, len(tensors), len(metadata)) + pairs + b"".join(infos)
    return header + bytes(-len(header) % alignment) + data


def language_model(seed: int = 0, template: str | None = TEMPLATE, **more: Any) -> bytes:
    """A GGUF file that says of itself what a small language model does; it cannot be run."""
    rng = np.random.default_rng(seed)
    metadata = {
        "general.architecture": "llama",
        "general.file_type": 0,
        "llama.context_length": 64,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": ["a", "b", "č"],
        "tokenizer.ggml.token_type": [1, 1, 1],
        **({} if template is None else {"tokenizer.chat_template": template}),
        **more,
    }
    names = ("token_embd.weight", "blk.0.attn_q.weight", "blk.0.attn_k.weight", "output.weight")
    return gguf(metadata, {name: rng.normal(size=(3, 32)).astype(np.float32) for name in names})


def adapter(architecture: str = "llama", seed: int = 0) -> bytes:
    """A GGUF file that says of itself that it is a LoRA adapter."""
    rng = np.random.default_rng(seed)
    metadata = {"general.architecture": architecture, "general.type": "adapter", "adapter.type": "lora"}
    return gguf(metadata, {"blk.0.attn_q.weight.lora_a": rng.normal(size=(2, 32)).astype(np.float32)})


def language_model_parts(count: int, seed: int = 0) -> list[bytes]:
    """The parts of a model, and as the last of the list the file that they are parts of."""
    rng = np.random.default_rng(seed)
    arrays = {f"blk.{n}.weight": rng.normal(size=(n + 1, 32)).astype(np.float16) for n in range(2 * count + 1)}
    head = {"general.architecture": "llama", "tokenizer.ggml.tokens": ["a", "b"], "llama.context_length": 64}
    made = []
    for number in range(count):
        own = {name: each for n, (name, each) in enumerate(arrays.items()) if n * count // len(arrays) == number}
        split = {"split.no": number, "split.count": count, "split.tensors.count": Typed(5, len(arrays))}
        made.append(gguf({**head, **split} if number == 0 else split, own))
    return [*made, gguf(head, arrays)]


def write_folder(path: Path, seed: int = 0, template: str | None = TEMPLATE, shards: int = 1) -> Path:
    """A Hugging Face directory that says of itself what a small language model does; it cannot be run."""
    path.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    names = ["model.safetensors"]
    if shards > 1:
        names = [f"model-{n:05}-of-{shards:05}.safetensors" for n in range(1, shards + 1)]
        _write_json(path / "model.safetensors.index.json", {"weight_map": {f"layer.{name}": name for name in names}})
    for name in names:
        tensors = {f"layer.{name}": rng.normal(size=(4, 8)).astype(np.float32)}
        (path / name).write_bytes(safetensors.numpy.save(tensors, {"format": "pt"}))
    _write_json(path / "config.json", {"model_type": "llama", "max_position_embeddings": 64})
    _write_json(path / "tokenizer.json", {"model": {"type": "BPE"}})
    _write_json(path / "tokenizer_config.json", {"eos_token": "</s>"})
    if template is not None:
        (path / "chat_template.jinja").write_text(template)
    (path / "modeling_code.py").write_text("raise SystemExit('code of a model is never run')\n")
    return path


def write_adapter_folder(path: Path, seed: int = 0) -> Path:
    """A PEFT adapter's directory."""
    path.mkdir(parents=True)
    tensors = {"base.q.lora_A.weight": np.random.default_rng(seed).normal(size=(2, 8)).astype(np.float32)}
    (path / "adapter_model.safetensors").write_bytes(safetensors.numpy.save(tensors))
    _write_json(path / "adapter_config.json", {"peft_type": "LORA", "r": 2, "base_model_name_or_path": "x"})
    return path


def _write_json(file: Path, value: object) -> None:
    file.write_text(json.dumps(value))


def _text(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _typed(value: Any) -> bytes:
    """A value with its type before it."""
    if isinstance(value, Typed):
        kind, plain = value
        return struct.pack("<I", kind) + struct.pack("<" + _LETTERS[kind], plain)
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    if isinstance(value, Sequence):
        kind = 8 if value and isinstance(value[0], str) else 5
        items = b"".join(_text(each) if kind == 8 else struct.pack("<i", each) for each in value)
        return struct.pack("<IIQ", 9, kind, len(value)) + items
    kind = 7 if isinstance(value, bool) else 4 if isinstance(value, int) else 6
    return struct.pack("<I", kind) + struct.pack("<" + _LETTERS[kind], value)
