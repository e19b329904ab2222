"""The language models of `synfire.testing.language_models` as Hugging Face directories: the same weights, the same tokens. And adapters on them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from synfire.ops import Array
from synfire.testing.language_models import SPECIAL, TEMPLATE, TINY, Size, tensors_of

_LAYER = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_WHOLE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def write_tiny_folder(
    path: Path, template: str | None = TEMPLATE, context: int = 256, seed: int = 0, size: Size = TINY
) -> Path:
    """Write the model, with that chat template or without one; give back the path."""
    path.mkdir(parents=True, exist_ok=True)
    weights = {_called(name): _turned(name, array, size) for name, array in tensors_of(seed, size).items()}
    safetensors.numpy.save_file(weights, path / "model.safetensors", {"format": "pt"})
    for name, content in (
        ("config.json", _config(context, size)),
        ("tokenizer.json", _tokenizer(size)),
        ("tokenizer_config.json", _tokenizer_config(template, context)),
    ):
        (path / name).write_text(json.dumps(content))
    return path


def write_tiny_adapter(
    path: Path, base: str, size: Size = TINY, rank: int = 4, seed: int = 1, more: Mapping[str, Any] | None = None
) -> Path:
    """Write a LoRA adapter that changes the queries and what the layers put out, of the model called `base`; `more` are further fields of
    its configuration. Give back the path."""
    path.mkdir(parents=True, exist_ok=True)
    rng, pairs = np.random.default_rng(seed), {}
    for layer in range(size.layers):
        for name, wide in (("self_attn.q_proj", size.width), ("mlp.down_proj", size.wide)):
            key = f"base_model.model.model.layers.{layer}.{name}.lora_"
            pairs[f"{key}A.weight"] = rng.normal(0, wide**-0.5, (rank, wide)).astype(np.float32)
            pairs[f"{key}B.weight"] = rng.normal(0, 1, (size.width, rank)).astype(np.float32)
    safetensors.numpy.save_file(pairs, path / "adapter_model.safetensors", {"format": "pt"})
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "base_model_name_or_path": base, "bias": "none"}
    (path / "adapter_config.json").write_text(json.dumps({**config, **(more or {})}))
    return path


def _called(name: str) -> str:
    parts = name.removesuffix(".weight").split(".")
    if parts[0] == "blk":
        return f"model.layers.{parts[1]}.{_LAYER[parts[2]]}.weight"
    return f"{_WHOLE[parts[0]]}.weight"


def _turned(name: str, array: Array, size: Size) -> Array:
    """llama.cpp turns pairs of neighbours in a head, transformers the first half with the second: rows go in another order."""
    if not name.endswith(("attn_q.weight", "attn_k.weight")):
        return array
    pairs = array.reshape(size.heads, size.width // size.heads // 2, 2, size.width)
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(array.shape)


def _config(context: int, size: Size) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": len(SPECIAL) + 256 + size.words,
        "hidden_size": size.width,
        "intermediate_size": size.wide,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.heads,
        "max_position_embeddings": context,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "bos_token_id": SPECIAL.index("<s>"),
        "eos_token_id": SPECIAL.index("</s>"),
        "dtype": "float32",
    }


def _tokenizer_config(template: str | None, context: int) -> dict[str, Any]:
    found = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "model_max_length": context,
    }
    return found if template is None else {**found, "chat_template": template}


def _tokenizer(size: Size) -> dict[str, Any]:
    names = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *(f"▁{word}" for word in size.vocabulary)]
    blank = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    begin = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    return {
        "version": "1.0",
        "added_tokens": [
            {"id": place, "content": name, "special": True, "normalized": False}
            | dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
            for place, name in enumerate(SPECIAL)
        ],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, blank]},
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [begin, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [begin, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [SPECIAL.index("<s>")], "tokens": ["<s>"]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
            ],
        },
        "model": {
            "type": "Unigram",
            "unk_id": SPECIAL.index("<unk>"),
            "byte_fallback": True,
            "vocab": [[name, -1.0 if name.startswith("▁") else -10.0] for name in names],
        },
    }
