"""One caller of a gateway, in a process of its own that starts within milliseconds: what a request takes, seen from outside.

`python -m synfire.deploy.asking` reads from standard input, as JSON, `host`, `port`, `rounds`, and whole HTTP `requests` in base64
by name; it sends all of them in every round, and writes the seconds of each answer, by name. It imports nothing of synfire.
"""

from __future__ import annotations

import base64
import json
import socket
import sys
import time

WARM_UP = 5
"""Rounds that count for nothing: kernels are loaded, and connections made."""


def ask(host: str, port: int, rounds: int, requests: dict[str, str]) -> dict[str, list[float]]:
    """Seconds of each request, in turns. Raises `ConnectionError` when the gateway answers anything but success."""
    found: dict[str, list[float]] = {name: [] for name in requests}
    whole = {name: base64.b64decode(text) for name, text in requests.items()}
    with socket.create_connection((host, port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for round_ in range(-WARM_UP, rounds):
            for name, request in whole.items():
                start = time.perf_counter()
                connection.sendall(request)
                _read(connection)
                if round_ >= 0:
                    found[name].append(time.perf_counter() - start)
    return found


def _read(connection: socket.socket) -> None:
    """One answer, as long as its head says."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += _some(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    if status.split()[1] != b"200":
        raise ConnectionError(f"the gateway answered {received.decode(errors='replace')}")
    fields = dict(line.lower().split(b":", 1) for line in lines)
    left = int(fields[b"content-length"]) - len(body)
    while left > 0:
        left -= len(_some(connection))


def _some(connection: socket.socket) -> bytes:
    received = connection.recv(1 << 20)
    if not received:
        raise ConnectionError("the gateway closed the connection")
    return received


if __name__ == "__main__":
    json.dump(ask(**json.load(sys.stdin)), sys.stdout)
