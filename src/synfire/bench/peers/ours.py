"""synfire itself, as `synfire serve` starts it."""

from __future__ import annotations

import sys
from http.client import HTTPMessage
from pathlib import Path

import numpy as np

from synfire.bench.peers.net import narrow
from synfire.bench.peers.server import Server, Setup
from synfire.bench.wrk import whole_request
from synfire.graph import flatten
from synfire.ops import Array
from synfire.wire import oip
from synfire.zoo import load


class Ours(Server):
    """The Open Inference Protocol with binary tensors: one gateway, and one worker, which computes with one thread or two, or two
    workers between which a model is cut."""

    name = "synfire"
    package = "synfire"

    def setups(self, model: str) -> tuple[Setup, ...]:
        return Setup(model=model), Setup(model=model, threads=2), Setup(model=model, workers=2)

    def words(self, setup: Setup) -> str:
        return f"1 gateway, {setup.workers} × {setup.threads} threads"

    def command(self, setup: Setup, folder: Path) -> list[str]:
        options = ["--workers", str(setup.workers), "--threads", str(setup.threads)]
        options += ["--port", str(setup.port), "--grpc-port", "0"]
        return [sys.executable, "-m", "synfire", "serve", setup.model, *options]

    def request(self, model: str, sample: Array) -> bytes:
        (name,) = flatten(load(model)).inputs
        body, length = oip.build_infer_request({name: narrow(sample)[None]})
        return whole_request(f"/v2/models/{model}/infer", {oip.HEADER_LENGTH: str(length)}, body)

    def scores(self, headers: HTTPMessage, body: bytes) -> Array:
        (scores,) = oip.parse_infer_response(body, int(headers[oip.HEADER_LENGTH])).outputs.values()
        return np.asarray(scores[0])
