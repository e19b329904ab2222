"""BentoML: services with adaptive batching. https://docs.bentoml.com"""

from __future__ import annotations

from http.client import HTTPMessage
from pathlib import Path

import msgspec
import numpy as np

from synfire.bench.peers.net import raw
from synfire.bench.peers.server import Server, Setup, module
from synfire.bench.peers.text import json_request, packed
from synfire.ops import Array


class BentoMl(Server):
    """A batchable method takes a list, here of base64 texts: its only binary bodies are pickles."""

    name = "bentoml"
    package = "bentoml"

    def command(self, setup: Setup, folder: Path) -> list[str]:
        where = ["--host", "127.0.0.1", "--port", str(setup.port), "--working-dir", str(folder)]
        return [*module("bentoml"), "serve", "synfire.bench.peers.hosted.bentoml:Hosted", *where]

    def request(self, model: str, sample: Array) -> bytes:
        return json_request("/predict", {"requests": [packed(raw(sample))]})

    def scores(self, headers: HTTPMessage, body: bytes) -> Array:
        return np.array(msgspec.json.decode(body)[0], np.float32)
