"""The ports at which a deployment's gateways answer callers."""

from __future__ import annotations

import socket

from synfire.deploy.listening import Listening
from synfire.gateway.addresses import Addresses, join, listen


class Ports:
    """The ports of a deployment. They are held as long as it lives: no other process gets them while a gateway is away, and callers
    who connect meanwhile are answered by the next one."""

    def __init__(self, listening: Listening, gateways: int) -> None:
        """Raises `UserError` for a port that cannot be had."""
        self.host = listening.host
        self.shared = listen(listening.host, listening.port)
        self.own = [listen(listening.host, 0) for _ in range(gateways)] if gateways > 1 else []
        self._grpc = _reserved(listening.host, listening.grpc_port) if listening.grpc_port is not None else None

    @property
    def grpc_port(self) -> int | None:
        return int(self._grpc.getsockname()[1]) if self._grpc else None

    @property
    def addresses(self) -> Addresses:
        """Where callers find any of the gateways."""
        url = self.url(self.shared)
        return Addresses(url, join(self.host, self.grpc_port) if self.grpc_port else "", f"{url}/metrics")

    def url(self, listening: socket.socket) -> str:
        return f"http://{join(self.host, listening.getsockname()[1])}"

    def of(self, gateway: int) -> list[socket.socket]:
        """The sockets of one gateway: the shared one, and its own where there are several."""
        return [self.shared, *self.own[gateway : gateway + 1]]

    def close(self) -> None:
        for each in (self.shared, *self.own, *([self._grpc] if self._grpc else [])):
            each.close()


def _reserved(host: str, port: int) -> socket.socket:
    """A socket that holds a port for gateways, and takes no call itself. Raises `UserError` when the port cannot be had."""
    probe = listen(host, port, "--grpc-port")
    family, address = probe.family, probe.getsockname()
    probe.close()
    held = socket.socket(family, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind(address)
    return held
