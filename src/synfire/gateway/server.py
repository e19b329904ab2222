"""Runs the gateway: HTTP (uvicorn, httptools) and gRPC in one event loop, and drains both on SIGTERM."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import grpc
import uvicorn
import uvloop

from synfire.base.signals import until_signal
from synfire.gateway.access import GrpcAccess
from synfire.gateway.addresses import Addresses, join, listen, taken
from synfire.gateway.api import grpc_handlers_of
from synfire.gateway.app import build_app
from synfire.gateway.connection import Connection, Outbox
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.patience import Patience

IDLE_S, IDLE_GRAIN_S = 75, 1.0
"""How long a connection stays that nothing comes along, and how much longer at most."""

CLOSE_S = 5.0
"""After the drain, how long a connection may take to read its last answer before it is cut."""


class Server:
    """The gateway's two listeners over one data plane. A port of 0 takes a free one; `grpc_port` None means no gRPC.

    With `given`, sockets that listen already are used for HTTP in place of `port`, and `grpc_port` is shared with all others
    that were given such: several gateways then answer at the same ports.
    """

    def __init__(
        self,
        plane: DataPlane,
        host: str = "127.0.0.1",
        port: int = 8000,
        grpc_port: int | None = 8001,
        given: Sequence[socket.socket] = (),
    ) -> None:
        self._plane = plane
        self._host = host
        self._port = port
        self._grpc_port = grpc_port
        self._given = list(given)
        self._grpc: Any = None
        app = build_app(plane)
        connection = partial(Connection, called=app, outbox=Outbox(), idle=Patience(IDLE_GRAIN_S))
        config = uvicorn.Config(
            cast(Any, app),
            http=cast(Any, connection),
            ws="none",
            loop="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=IDLE_S,
            timeout_graceful_shutdown=int(CLOSE_S),
        )
        self._http = uvicorn.Server(config)
        self._sockets: list[socket.socket] = []
        self._ticking: asyncio.Task[None] | None = None

    async def start(self) -> Addresses:
        """Listen. Raises `UserError` when a port is taken, forbidden, or the host is not this machine's."""
        self._sockets = self._given or [listen(self._host, self._port)]
        try:
            grpc_address = await self._start_grpc()
        except BaseException:
            for each in self._sockets:
                each.close()
            raise
        await self._start_http()
        url = f"http://{join(self._host, self._sockets[0].getsockname()[1])}"
        return Addresses(url, grpc_address, f"{url}/metrics")

    async def stop(self) -> None:
        """Drain: readiness goes, new calls get 503, accepted ones are answered; then both listeners close."""
        await self._plane.drain()
        await asyncio.gather(self._stop_grpc(), self._stop_http())

    async def _start_http(self) -> None:
        self._http.config.load()
        self._http.lifespan = self._http.config.lifespan_class(self._http.config)
        await self._http.startup(sockets=self._sockets)
        self._ticking = asyncio.create_task(self._http.main_loop())

    async def _stop_http(self) -> None:
        if self._ticking is not None:
            self._http.should_exit = True
            await self._ticking
            await self._http.shutdown(sockets=self._sockets)

    async def _start_grpc(self) -> str:
        if self._grpc_port is None:
            return ""
        size = self._plane.limits.body_bytes
        # Only gateways of one deployment share a port: of two that know nothing of each other each would answer half of the calls.
        options = [
            ("grpc.so_reuseport", int(bool(self._given))),
            ("grpc.max_receive_message_length", size),
            ("grpc.max_send_message_length", -1),
        ]
        keys = self._plane.keys
        server = grpc.aio.server(options=options, interceptors=[GrpcAccess(keys)] if keys else [])
        server.add_generic_rpc_handlers(grpc_handlers_of(self._plane))
        if not self._given:
            listen(self._host, self._grpc_port, "--grpc-port").close()
        try:
            port = server.add_insecure_port(join(self._host, self._grpc_port))
        except RuntimeError as error:
            raise taken(self._host, self._grpc_port, "--grpc-port") from error
        await server.start()
        self._grpc = server
        return join(self._host, port)

    async def _stop_grpc(self) -> None:
        if self._grpc is not None:
            await self._grpc.stop(CLOSE_S)


def serve(plane: DataPlane, host: str, port: int, grpc_port: int | None, on_ready: Callable[[Addresses], None]) -> None:
    """Serve until SIGTERM or SIGINT, then drain and return. `on_ready` is told where, once calls are accepted."""

    async def run() -> None:
        server = Server(plane, host, port, grpc_port)
        on_ready(await server.start())
        await until_signal()
        await server.stop()

    uvloop.run(run())
