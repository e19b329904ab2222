"""What the gateway costs by itself: an echo model under 1, 16 and 64 connections."""

from __future__ import annotations

import asyncio
import base64
import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import numpy as np
from anyio.from_thread import start_blocking_portal

from synfire.base import garbage
from synfire.bench import wrk
from synfire.bench.benchmark import BENCHMARKS, Benchmark, Floor, Progress, Report, Settings, floor, report
from synfire.bench.load import Job, infer_request, measure
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.echo import ECHO, EchoRoute
from synfire.gateway.server import Server
from synfire.zoo import sample

CONCURRENCY = (1, 16, 64)


ALONE, BUSY = CONCURRENCY[0], CONCURRENCY[-1]
"""The concurrency of the floor of latency, and of the one of throughput."""
GATEWAY, BARE = "gateway", "bare"
BODY_BYTES = 12288


class Gateway(Benchmark):
    """HTTP with binary tensors of 12 kB each way. The load comes from wrk, on the same cores; a smoke run where it is not
    installed takes a generator in Python, which costs as much as what it measures.

    In turns with the gateway a `bare` server is asked, which reads nothing of a request but its length: the same event loop, sockets and
    generator. No gateway in Python goes below what that takes on the machine at hand.
    """

    name = "gateway"
    about = "an echo model: p50, p99 and requests a second at concurrency 1, 16, 64"

    def measure(self, settings: Settings, progress: Progress) -> Report:
        if not settings.quick:
            wrk.require()
        seconds, rounds = (1.0, 1) if settings.quick else (3.0, 5)
        found: dict[tuple[str, int], list[dict[str, float]]] = {
            (server, concurrency): [] for server in (GATEWAY, BARE) for concurrency in CONCURRENCY
        }
        with (
            start_blocking_portal(backend_options={"use_uvloop": True}) as portal,
            portal.wrap_async_context_manager(_echo()) as url,
            garbage.looking_seldom(),  # as every gateway does
        ):
            request = infer_request(url, ECHO, sample(EchoRoute().graph))
            with portal.wrap_async_context_manager(_bare(len(base64.b64decode(request)))) as bare_url:
                urls = {GATEWAY: url, BARE: bare_url}
                take = _by_wrk if wrk.installed() else _by_python
                take(url, request, BUSY, seconds)  # warms up
                for _ in range(rounds):
                    for (server, concurrency), samples in found.items():
                        progress(f"{server}, concurrency {concurrency}")
                        samples.append(take(urls[server], request, concurrency, seconds))
        rows = [
            {"server": server, "concurrency": concurrency, **_median(samples)}
            for (server, concurrency), samples in found.items()
        ]
        generator = "wrk" if wrk.installed() else "python"
        details = {"seconds": seconds, "rounds": rounds, "body_bytes": BODY_BYTES, "generator": generator}
        return report(self.name, settings, details, rows, floors(rows))


BENCHMARKS.add(Gateway.name, Gateway())


def floors(rows: list[dict[str, Any]]) -> list[Floor]:
    by_concurrency = {row["concurrency"]: row for row in rows if row["server"] == GATEWAY}
    return [
        floor("echo_c1_p50_ms", "<=", 0.25, 1e3 * by_concurrency[ALONE]["p50_s"]),
        floor("echo_c64_rps", ">=", 5000.0, by_concurrency[BUSY]["requests_s"]),
    ]


@asynccontextmanager
async def _echo() -> AsyncIterator[str]:
    """A gateway with the echo model, without workers."""
    plane = DataPlane()
    plane.add(ECHO, EchoRoute())
    server = Server(plane, port=0, grpc_port=None)
    addresses = await server.start()
    try:
        yield addresses.url
    finally:
        await server.stop()


@asynccontextmanager
async def _bare(request_bytes: int) -> AsyncIterator[str]:
    """A server that answers every so many bytes with as much as the gateway would."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(partial(_Bare, request_bytes), "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


class _Bare(asyncio.Protocol):
    ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BODY_BYTES + bytes(BODY_BYTES)

    def __init__(self, request_bytes: int) -> None:
        self._request_bytes = request_bytes
        self._seen = 0
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        whole, self._seen = divmod(self._seen + len(data), self._request_bytes)
        for _ in range(whole):
            self._transport.write(self.ANSWER)


def _by_wrk(url: str, request: str, concurrency: int, seconds: float) -> dict[str, float]:
    found = wrk.load(url, [base64.b64decode(request)], concurrency, seconds)
    return {"p50_s": found.p50_s, "p99_s": found.p99_s, "requests_s": found.requests_s}


def _by_python(url: str, request: str, concurrency: int, seconds: float) -> dict[str, float]:
    measured = measure(Job(url=url, requests={ECHO: request}, seconds=seconds, concurrency=concurrency))
    p50_s, p99_s = np.quantile(measured.loaded[ECHO], [0.5, 0.99])
    return {"p50_s": float(p50_s), "p99_s": float(p99_s), "requests_s": measured.requests_s[ECHO]}


def _median(samples: list[dict[str, float]]) -> dict[str, Any]:
    """The median of the rounds, and the range of what the floors are about."""
    middle = {name: statistics.median(each[name] for each in samples) for name in samples[0]}
    by_name = {name: [each[name] for each in samples] for name in ("p50_s", "requests_s")}
    ends = {f"{end.__name__}_{name}": end(values) for name, values in by_name.items() for end in (min, max)}
    return {**middle, **ends}
