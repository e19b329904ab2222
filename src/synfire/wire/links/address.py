"""Addresses of links: `unix:/path` on a host; `tcp://host:port` between hosts, or `tls://host:port`, where others might listen."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

from synfire.base.errors import TemporaryError, UserError
from synfire.wire.links.link import Limits
from synfire.wire.links.socket import SocketLink
from synfire.wire.links.tls import TlsLink, held

_PATH_LIMIT = 107
_BACKLOG = 128
_LOCAL_S = 5.0  # a Unix connect waits only while the backlog is full


def listen(address: str) -> tuple[socket.socket, str]:
    """A listening socket and its address, with the port that was found where port 0 was asked for.

    Raises `UserError` for an address that cannot be listened at: malformed, taken, forbidden, or too long a path.
    """
    family, where = _parse(address)
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family != socket.AF_UNIX:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise UserError(
            f"cannot listen at {address}: {os.strerror(error.errno or 0)}; choose another address"
        ) from error
    listener.setblocking(False)
    if family == socket.AF_UNIX:
        return listener, address
    host, port = listener.getsockname()[:2]
    return listener, joined(urlsplit(address).scheme, host, port)


def joined(scheme: str, host: str, port: int) -> str:
    """The address of a port of a host."""
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def accept(listener: socket.socket, address: str, peer: str, limits: Limits | None = None) -> SocketLink:
    """A link to whoever has called at `address`, where `listener` listens. Raises `OSError` where nobody has, or is gone again."""
    connection, _ = listener.accept()
    if address.startswith("tls:"):
        return TlsLink(connection, peer, held(address), calling=False, limits=limits)
    return SocketLink(connection, peer, limits)


def connect(address: str, peer: str, limits: Limits | None = None) -> SocketLink:
    """A link to the process that listens at `address`. A TCP connection may still be under way when this returns.

    Raises `TemporaryError` when nobody listens there, `UserError` for an address of which this process has not the token.
    """
    family, where = _parse(address)
    credential = held(address) if address.startswith("tls:") else None
    connection = socket.socket(family, socket.SOCK_STREAM)
    connection.settimeout(_LOCAL_S if family == socket.AF_UNIX else 0)
    try:
        with contextlib.suppress(BlockingIOError):
            connection.connect(where)
    except OSError as error:
        connection.close()
        raise TemporaryError(
            f"cannot reach {peer} at {address}: {os.strerror(error.errno or 0)}; try again when it is back"
        ) from error
    if credential is not None:
        return TlsLink(connection, peer, credential, calling=True, limits=limits)
    return SocketLink(connection, peer, limits)


def unlink(address: str) -> None:
    """Remove the file of a Unix address, if there is one."""
    if address.startswith("unix:"):
        with contextlib.suppress(OSError):
            Path(address.removeprefix("unix:")).unlink()


def _parse(address: str) -> tuple[socket.AddressFamily, str | tuple[str, int]]:
    if address.startswith("unix:"):
        path = address.removeprefix("unix:")
        if not path or len(os.fsencode(path)) > _PATH_LIMIT:
            raise UserError(
                f"the socket path {path!r} is empty or longer than {_PATH_LIMIT} bytes; set SYNFIRE_HOME, or TMPDIR, to a shorter path"
            )
        return socket.AF_UNIX, path
    parts = urlsplit(address)
    try:
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise UserError(f"{address!r}: {error}; write tcp://host:port") from error
    if parts.scheme not in ("tcp", "tls") or host is None or port is None:
        raise UserError(f"{address!r} is no address; write unix:/path or tcp://host:port")
    return (socket.AF_INET6 if ":" in host else socket.AF_INET), (host, port)
