"""mosec: a Rust front, raw bodies, workers with dynamic batching. https://mosecorg.github.io/mosec"""

from __future__ import annotations

from http.client import HTTPMessage
from pathlib import Path

import numpy as np

from synfire.bench.peers.net import raw
from synfire.bench.peers.server import Server, Setup, module
from synfire.bench.wrk import whole_request
from synfire.ops import Array


class Mosec(Server):
    name = "mosec"
    package = "mosec"

    def command(self, setup: Setup, folder: Path) -> list[str]:
        options = ["--address", "127.0.0.1", "--port", str(setup.port), "--path", str(folder), "--log-level", "error"]
        return [*module("synfire.bench.peers.hosted.mosec"), *options]

    def request(self, model: str, sample: Array) -> bytes:
        return whole_request("/inference", {}, raw(sample))

    def scores(self, headers: HTTPMessage, body: bytes) -> Array:
        return np.frombuffer(body, np.float32)
