"""Where a door is, as people write it."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from synfire.base.errors import UserError

EVERYWHERE = "0.0.0.0"


def parse_place(text: str, option: str) -> tuple[str, int]:
    """`HOST:PORT` as host and port. Raises `UserError` for another form."""
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or port is None or parts.path or parts.username is not None:
        raise UserError(f"{option} {text} is not HOST:PORT, such as 10.0.0.1:7000 or [fd00::1]:7000")
    return host, port


def parse_own_place(text: str, option: str) -> str:
    """`[HOST:]PORT` as `HOST:PORT`; without a host it is every address of this machine. Raises as `parse_place` does."""
    host, port = parse_place(text if not text.isdecimal() else f"{EVERYWHERE}:{text}", option)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def reachable_place(address: str) -> str:
    """Where others find what listens at `address`: where it says, or, for every address, at the one by which this machine goes out."""
    parts = urlsplit(address)
    host, port = parts.hostname or "", parts.port
    if host in (EVERYWHERE, "::"):
        host = _outward(socket.AF_INET6 if host == "::" else socket.AF_INET)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def reachable_url(url: str, address: str) -> str:
    """Where others find what answers at `url`: where it says, or, for every address of its machine, at the one of `address`."""
    parts = urlsplit(url)
    if parts.hostname not in (EVERYWHERE, "::"):
        return url
    host = urlsplit(address).hostname or ""
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{parts.port}"


def _outward(family: socket.AddressFamily) -> str:
    """The address that a packet to elsewhere would leave from; this host's name where there is no way out. Nothing is sent."""
    elsewhere = "2001:db8::1" if family == socket.AF_INET6 else "192.0.2.1"
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((elsewhere, 9))
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
