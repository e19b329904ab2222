"""MLServer: the Open Inference Protocol over REST, adaptive batching, a pool of workers. https://mlserver.readthedocs.io"""

from __future__ import annotations

from http.client import HTTPMessage
from pathlib import Path

import msgspec
import numpy as np

from synfire.bench.peers.net import raw
from synfire.bench.peers.server import Server, Setup, free_port, module
from synfire.bench.peers.text import json_request, packed
from synfire.ops import Array

WAIT_S = 0.001

MODEL = "hosted"


class MlServer(Server):
    """Its REST takes JSON alone; bytes are base64 texts of datatype BYTES there."""

    name = "mlserver"
    package = "mlserver"

    def command(self, setup: Setup, folder: Path) -> list[str]:
        model = {
            "name": MODEL,
            "implementation": "synfire.bench.peers.hosted.mlserver.Hosted",
            "max_batch_size": setup.batch if setup.batch > 1 else 0,
            "max_batch_time": WAIT_S if setup.batch > 1 else 0,
        }
        # One process computes where it serves, without a pool: fewer hops, as its documentation says.
        server = {
            "host": "127.0.0.1",
            "http_port": setup.port,
            "grpc_port": free_port(),
            "metrics_endpoint": None,
            "parallel_workers": setup.workers if setup.workers > 1 else 0,
            "debug": False,
        }
        (folder / "model-settings.json").write_bytes(msgspec.json.encode(model))
        (folder / "settings.json").write_bytes(msgspec.json.encode(server))
        return [*module("synfire.bench.peers.hosted.mlserver"), "start", str(folder)]

    def request(self, model: str, sample: Array) -> bytes:
        tensor = {"name": "request", "shape": [1, 1], "datatype": "BYTES", "data": [packed(raw(sample))]}
        return json_request(f"/v2/models/{MODEL}/infer", {"inputs": [tensor]})

    def scores(self, headers: HTTPMessage, body: bytes) -> Array:
        return np.array(msgspec.json.decode(body)["outputs"][0]["data"], np.float32)
