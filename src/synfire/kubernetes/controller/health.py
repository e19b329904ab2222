"""What Kubernetes and Prometheus ask a controller's Pod: `/livez`, `/readyz` and `/metrics`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from synfire.kubernetes.controller.controller import Controller

LONGEST_S = 5.0
"""How long a caller may take to say what he wants, in seconds."""


@asynccontextmanager
async def answering(controller: Controller, host: str, port: int) -> AsyncIterator[int]:
    """For as long as a block lasts; gives the port. It answers from the controller's own loop, so a loop that hangs is not live."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(LONGEST_S):
                head = await reader.readuntil(b"\r\n\r\n")
            writer.write(_answer(head.split(b" ", 2)[1], controller))
            await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, IndexError):
            return
        finally:
            writer.close()

    async with await asyncio.start_server(answer, host, port) as server:
        yield server.sockets[0].getsockname()[1]


def _answer(path: bytes, controller: Controller) -> bytes:
    kind = "text/plain"
    match path.partition(b"?")[0]:
        case b"/livez":
            status, body = "200 OK", b"ok\n"
        case b"/readyz" if controller.ready:
            status, body = "200 OK", b"ok\n"
        case b"/readyz":
            status, body = "503 Service Unavailable", b"what is there is being listed\n"
        case b"/metrics":
            registry = CollectorRegistry()
            registry.register(_Scrape(controller))
            status, body, kind = "200 OK", generate_latest(registry), CONTENT_TYPE_LATEST
        case _:
            status, body = "404 Not Found", b"there are /livez, /readyz and /metrics\n"
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    return head.encode() + body


class _Scrape(Collector):
    """The state of one moment."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def collect(self) -> Iterable[Metric]:
        spaces = self._controller.spaces
        leads = float(self._controller.lease.held)
        yield GaugeMetricFamily("synfire_controller_leads", "Whether this one acts.", leads)
        yield GaugeMetricFamily("synfire_controller_namespaces", "Namespaces with objects of ours.", float(len(spaces)))
        rounds = CounterMetricFamily("synfire_controller_rounds", "Rounds of decisions.", labels=["namespace"])
        refused = GaugeMetricFamily("synfire_controller_refusals", "What was refused lately.", labels=["namespace"])
        for name, space in spaces.items():
            rounds.add_metric([name], float(space.rounds))
            refused.add_metric([name], float(space.refused))
        yield from (rounds, refused)
