"""`python -m synfire.bench.peers.hosted.ray`."""

from __future__ import annotations

import threading
from typing import Any, cast

import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from synfire.bench.peers.net import Net
from synfire.bench.peers.server import Setup

WAIT_S = 0.001

ONGOING = 256
"""Requests that a replica takes at a time: more than any concurrency that is tried."""

setup = Setup.given()


@serve.deployment(num_replicas=setup.workers, max_ongoing_requests=ONGOING)
class Hosted:
    def __init__(self) -> None:
        self._net = Net(setup.model, setup.threads)

    async def __call__(self, request: Request) -> Response:
        return Response(await self.compute(await request.body()), media_type="application/octet-stream")

    @serve.batch(max_batch_size=setup.batch, batch_wait_timeout_s=WAIT_S if setup.batch > 1 else 0.0)  # type: ignore[untyped-decorator]
    async def compute(self, bodies: list[bytes]) -> list[bytes]:
        return self._net(bodies)


if __name__ == "__main__":
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": setup.port})
    serve.run(cast(Any, Hosted).bind())
    threading.Event().wait()
