"""synfire itself, as `synfire serve` starts it."""

from __future__ import annotations

import sys
from http.client import HTTPMessage
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from synfire.bench.peers.net import narrow
from synfire.bench.peers.server import Server, Setup
from synfire.bench.wrk import whole_request
from synfire.graph import flatten
from synfire.ops import Array
from synfire.wire import oip
from synfire.zoo import load


class Ours(Server):
    """The Open Inference Protocol with binary tensors: one gateway, and one worker, which computes with one thread or two, or two
    workers between which a model may be cut; or two gateways at one port, and one worker."""

    name = "synfire"
    package = "synfire"

    def setups(self, model: str) -> tuple[Setup, ...]:
        alone = Setup(model=model)
        return alone, replace(alone, threads=2), replace(alone, workers=2), replace(alone, gateways=2)

    def words(self, setup: Setup) -> str:
        gateways = "1 gateway" if setup.gateways == 1 else f"{setup.gateways} gateways"
        return f"{gateways}, {setup.workers} × {setup.threads} threads"

    def command(self, setup: Setup, folder: Path) -> list[str]:
        options = ["--workers", str(setup.workers), "--threads", str(setup.threads)]
        options += ["--gateways", str(setup.gateways), "--port", str(setup.port), "--grpc-port", "0"]
        return [sys.executable, "-m", "synfire", "serve", setup.model, *options]

    def request(self, model: str, sample: Array) -> bytes:
        (name,) = flatten(load(model)).inputs
        body, length = oip.build_infer_request({name: narrow(sample)[None]})
        return whole_request(f"/v2/models/{model}/infer", {oip.HEADER_LENGTH: str(length)}, body)

    def scores(self, headers: HTTPMessage, body: bytes) -> Array:
        (scores,) = oip.parse_infer_response(body, int(headers[oip.HEADER_LENGTH])).outputs.values()
        return np.asarray(scores[0])
