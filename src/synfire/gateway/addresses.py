"""Where a gateway listens, and what the addresses look like."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass

from synfire.base.errors import UserError


@dataclass(frozen=True)
class Addresses:
    """Where a running gateway is reached; `grpc` is empty when gRPC is off."""

    url: str
    grpc: str
    metrics: str


def listen(host: str, port: int, option: str = "--port") -> socket.socket:
    """A listening TCP socket. Raises `UserError` that names the port and the option that changes it."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
    except (socket.gaierror, OverflowError) as error:
        raise UserError(
            f"cannot listen on host {host!r}, port {port}: {error}; name an address of this machine"
        ) from error
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
        listening.listen()  # bound alone, a port that is reused can be bound again
    except OSError as error:
        listening.close()
        raise _refused(error, host, port, option) from error
    return listening


def _refused(error: OSError, host: str, port: int, option: str) -> UserError:
    if error.errno == errno.EADDRINUSE:
        return taken(host, port, option)
    if error.errno in (errno.EACCES, errno.EPERM):
        return UserError(f"no permission to listen on port {port} of {host}; choose one above 1023 with {option}")
    return UserError(f"cannot listen on port {port} of {host}: {error.strerror}; name an address of this machine")


def taken(host: str, port: int, option: str) -> UserError:
    """What is said of a port that somebody else has."""
    return UserError(
        f"port {port} on {host} is taken by another process; choose another with {option}, or {option} 0 for any free one"
    )


def join(host: str, port: int) -> str:
    """`host:port`, as it stands in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
