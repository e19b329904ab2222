"""The process of a model on torch."""

from __future__ import annotations

import os
from typing import Any

from ..answering.process import run
from ..answering.server import Model


def main(order: dict[str, Any]) -> None:
    """Serve the `model`, a directory, with `context` tokens for each answer."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}  # all that it needs lies in the directory
    run("transformers", order, _loaded)


def _loaded(order: dict[str, Any]) -> Model:
    import torch

    from .model import TorchModel

    torch.set_num_threads(len(order["cores"]))
    torch.set_grad_enabled(False)
    return TorchModel(order["model"], order["context"])
