"""`bentoml serve synfire.bench.peers.hosted.bentoml:service`."""

from __future__ import annotations

import bentoml
import numpy as np

from synfire.bench.peers.net import Net
from synfire.bench.peers.server import Setup
from synfire.bench.peers.text import unpacked

LATENCY_MS = 10_000
"""Beyond this its adaptive batching refuses requests, also the first ones, for which it has learnt nothing yet."""

setup = Setup.given()


@bentoml.service(workers=setup.workers, traffic={"timeout": 60})
class Hosted:
    def __init__(self) -> None:
        self._net = Net(setup.model, setup.threads)

    @bentoml.api(batchable=setup.batch > 1, max_batch_size=max(2, setup.batch), max_latency_ms=LATENCY_MS)  # type: ignore[untyped-decorator]
    def predict(self, requests: list[str]) -> list[list[float]]:
        return [np.frombuffer(each, np.float32).tolist() for each in self._net(unpacked(requests))]
