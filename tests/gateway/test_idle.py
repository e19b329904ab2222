"""Connections that nothing comes along end, and those that are used stay."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from synfire.base.clock import SystemClock
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.server import IDLE_GRAIN_S, IDLE_S, Server
from synfire.testing.simulation.loop import VirtualLoop

ASKED = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"


class Transport:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def writelines(self, parts: tuple[bytes, ...]) -> None:
        self.written.append(b"".join(parts))

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> VirtualLoop:
    """A loop in which an hour takes no time, and by which clocks go."""
    found = VirtualLoop()
    monkeypatch.setattr(SystemClock, "now_s", lambda clock: found.time())
    return found


def connected(plane: DataPlane, loop: VirtualLoop, transport: Transport) -> Any:
    """A connection of a server over the plane."""
    server = Server(plane, port=0, grpc_port=None)
    server._http.config.load()
    made: Any = server._http.config.http_protocol_class
    connection = made(server._http.config, server._http.server_state, {}, _loop=loop)
    connection.connection_made(transport)
    return connection


def test_a_connection_stays_as_long_as_requests_come_and_ends_when_none_does(loop):
    transport = Transport()

    async def story() -> None:
        connection = connected(DataPlane(), loop, transport)
        for count in (1, 2, 3):
            connection.data_received(ASKED)
            await asyncio.sleep(IDLE_S - 5)
            assert (len(transport.written), transport.closed) == (count, False)
        await asyncio.sleep(5 + IDLE_GRAIN_S)
        assert transport.closed
        assert not connection.tasks

    loop.run_until_complete(story())


def test_a_connection_whose_request_takes_long_is_not_idle(loop, gated):
    transport = Transport()

    async def story() -> None:
        plane = DataPlane()
        plane.add("m", gated)
        connection = connected(plane, loop, transport)
        connection.data_received(ASKED)
        await asyncio.sleep(IDLE_S - 5)
        body = b'{"inputs":[{"name":"x","shape":[1,3,32,32],"datatype":"FP32","data":[' + b"0," * 3071 + b"0]}]}"
        head = f"POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nSynfire-Timeout-Ms: 600000\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.data_received(head.encode() + body)
        await asyncio.sleep(plane.limits.timeout_s - 1)
        assert (len(transport.written), transport.closed) == (1, False)
        gated.go.set()
        await asyncio.sleep(30)
        assert transport.written[1].startswith(b"HTTP/1.1 200 OK\r\n")
        assert not transport.closed

    loop.run_until_complete(story())
