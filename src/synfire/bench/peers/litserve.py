"""LitServe: FastAPI in front, worker processes with batching behind. https://lightning.ai/docs/litserve"""

from __future__ import annotations

from http.client import HTTPMessage
from pathlib import Path

import msgspec
import numpy as np

from synfire.bench.peers.net import raw
from synfire.bench.peers.server import Server, Setup, module
from synfire.bench.peers.text import json_request, packed
from synfire.ops import Array


class LitServe(Server):
    """Its requests are JSON; files in them are base64, as its documentation shows."""

    name = "litserve"
    package = "litserve"

    def command(self, setup: Setup, folder: Path) -> list[str]:
        return module("synfire.bench.peers.hosted.litserve")

    def request(self, model: str, sample: Array) -> bytes:
        return json_request("/predict", {"input": packed(raw(sample))})

    def scores(self, headers: HTTPMessage, body: bytes) -> Array:
        return np.array(msgspec.json.decode(body)["output"], np.float32)
