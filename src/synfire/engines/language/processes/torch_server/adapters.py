"""LoRA adapters on one model: W·x + s·B·(A·x), with a pair of matrices for each layer that an adapter changes.

They are read as the package peft writes them, and used as they are, not merged: so any number of them share the model's weights, and each
answer chooses its own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
_ODD = (
    *("use_dora", "modules_to_save", "lora_bias", "layer_replication", "trainable_token_indices", "target_parameters"),
    *("fan_in_fan_out", "alpha_pattern"),
)
"""What such a configuration may ask for that is not done here."""


class Pair(NamedTuple):
    """What an adapter adds to a layer: `scale` · `up` · (`down` · x)."""

    down: torch.Tensor
    up: torch.Tensor
    scale: float


class Adapters:
    """The adapters of a model by name; the one `use`d last is in force."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._layers = {name: each for name, each in model.named_modules() if isinstance(each, torch.nn.Linear)}
        self._pairs: dict[str, dict[str, Pair]] = {}
        self._hooked: set[str] = set()
        self._used: Mapping[str, Pair] = {}

    @property
    def names(self) -> list[str]:
        return list(self._pairs)

    def use(self, name: str) -> None:
        """Compute with that adapter from now on; with none where the name is empty."""
        self._used = self._pairs[name] if name else {}

    def load(self, name: str, folder: Path) -> None:
        """Read an adapter. Raises `ValueError` for one of another model, and for kinds that are not known here."""
        if name in self._pairs:
            return
        config = json.loads((folder / CONFIG).read_bytes())
        odd = [each for each in _ODD if config.get(each)]
        if config.get("peft_type") != "LORA" or odd or config.get("bias", "none") != "none":
            raise ValueError(
                f"{folder} is no plain LoRA adapter ({', '.join(odd) or config.get('peft_type')}); merge it into its model"
            )
        pairs = self._paired(folder, config)
        for layer in set(pairs) - self._hooked:
            self._layers[layer].register_forward_hook(self._adding(layer))
            self._hooked.add(layer)
        self._pairs[name] = pairs

    def _paired(self, folder: Path, config: Mapping[str, Any]) -> dict[str, Pair]:
        found = {key.removeprefix(_PREFIX): value.float() for key, value in load_file(folder / WEIGHTS).items()}
        downs = {key.removesuffix(".lora_A.weight") for key in found if key.endswith(".lora_A.weight")}
        if len(found) != 2 * len(downs):
            raise ValueError(
                f"{folder} holds more than pairs of LoRA matrices, such as {sorted(found)[0]}; merge it into its model"
            )
        return {layer: self._pair(folder, layer, found, config) for layer in downs}

    def _pair(self, folder: Path, layer: str, found: Mapping[str, torch.Tensor], config: Mapping[str, Any]) -> Pair:
        down, up = found[f"{layer}.lora_A.weight"], found[f"{layer}.lora_B.weight"]
        weight = self._layers[layer].weight if layer in self._layers else None
        if weight is None or (up.shape[0], down.shape[1]) != tuple(weight.shape):
            has = "no such layer" if weight is None else f"{tuple(weight.shape)} there"
            raise ValueError(
                f"{folder} is an adapter of another model: it changes {layer} of {(up.shape[0], down.shape[1])}, and this has {has}"
            )
        rank = down.shape[0]
        alpha = config["lora_alpha"]
        return Pair(down, up, alpha / (math.sqrt(rank) if config.get("use_rslora") else rank))

    def _adding(self, layer: str) -> Any:
        def add(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
            pair = self._used.get(layer)
            if pair is None:
                return output
            down = torch.nn.functional.linear(inputs[0], pair.down)
            return output + pair.scale * torch.nn.functional.linear(down, pair.up)

        return add
