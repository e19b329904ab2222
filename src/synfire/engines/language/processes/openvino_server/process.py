"""The process of a model on OpenVINO GenAI."""

from __future__ import annotations

from typing import Any

from ..answering.process import run
from ..answering.server import Model


def main(order: dict[str, Any]) -> None:
    """Serve the `model`, a GGUF file or a converted directory, with `context` tokens for each of `streams` answers; `bos` are the tokens that
    are put before a text, none where its tokenizer knows that, and `ends` those that end an answer."""
    run("OpenVINO GenAI", order, _loaded)


def _loaded(order: dict[str, Any]) -> Model:
    from .model import OpenVinoModel

    return OpenVinoModel(order)
