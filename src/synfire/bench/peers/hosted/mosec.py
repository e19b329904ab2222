"""`python -m synfire.bench.peers.hosted.mosec --address … --port …`."""

from __future__ import annotations

from typing import Any

import mosec

from synfire.bench.peers.net import Net
from synfire.bench.peers.server import Setup

WAIT_MS = 1
"""The least that mosec can wait for a batch; more would only delay."""


class Hosted(mosec.Worker):  # type: ignore[misc]
    def __init__(self) -> None:
        setup = Setup.given()
        self._batched = setup.batch > 1
        self._net = Net(setup.model, setup.threads)

    def deserialize(self, data: bytes) -> bytes:
        return data

    def serialize(self, data: bytes) -> bytes:
        return data

    def forward(self, data: Any) -> Any:
        return self._net(data) if self._batched else self._net([data])[0]


if __name__ == "__main__":
    setup = Setup.given()
    server = mosec.Server()
    server.append_worker(Hosted, num=setup.workers, max_batch_size=setup.batch, max_wait_time=WAIT_MS)
    server.run()
