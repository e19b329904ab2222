"""Ray Serve: an HTTP proxy, replicas with `serve.batch`. https://docs.ray.io/en/latest/serve"""

from __future__ import annotations

from http.client import HTTPMessage
from pathlib import Path

import numpy as np

from synfire.bench.peers.net import raw
from synfire.bench.peers.server import Server, Setup, module
from synfire.bench.wrk import whole_request
from synfire.ops import Array


class Ray(Server):
    name = "ray"
    package = "ray"

    def command(self, setup: Setup, folder: Path) -> list[str]:
        return module("synfire.bench.peers.hosted.ray")

    def request(self, model: str, sample: Array) -> bytes:
        return whole_request("/", {"Content-Type": "application/octet-stream"}, raw(sample))

    def scores(self, headers: HTTPMessage, body: bytes) -> Array:
        return np.frombuffer(body, np.float32)
