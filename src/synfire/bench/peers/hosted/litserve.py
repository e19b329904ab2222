"""`python -m synfire.bench.peers.hosted.litserve`."""

from __future__ import annotations

from typing import Any

import litserve
import numpy as np

from synfire.bench.peers.net import Net
from synfire.bench.peers.server import Setup
from synfire.bench.peers.text import unpacked

WAIT_S = 0.001


class Hosted(litserve.LitAPI):  # type: ignore[misc]
    def setup(self, device: str) -> None:
        setup = Setup.given()
        self._batched = setup.batch > 1
        self._net = Net(setup.model, setup.threads)

    def decode_request(self, request):  # type: ignore[no-untyped-def]  # LitServe reads bodies by this annotation
        return unpacked([request["input"]])[0]

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        return inputs

    def predict(self, x: Any) -> Any:
        return self._net(x) if self._batched else self._net([x])[0]

    def unbatch(self, output: list[bytes]) -> list[bytes]:
        return output

    def encode_response(self, output: bytes) -> dict[str, list[float]]:
        return {"output": np.frombuffer(output, np.float32).tolist()}


if __name__ == "__main__":
    setup = Setup.given()
    waiting: dict[str, Any] = {"max_batch_size": setup.batch, "batch_timeout": WAIT_S} if setup.batch > 1 else {}
    server = litserve.LitServer(
        Hosted(**waiting), accelerator="cpu", workers_per_device=setup.workers, fast_queue=True, timeout=False
    )
    server.run(host="127.0.0.1", port=setup.port, log_level="error", generate_client_file=False)
