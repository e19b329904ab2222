"""Begins a server of another project, says when it answers, and ends it with the worker. Run as a file: it imports nothing of synfire."""

from __future__ import annotations

import ctypes
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

_LOOK_S = 0.1
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Start what the order's `command` says, with a free port in place of `{port}`, or a Unix socket in place of `{address}`; it answers
    when `health` is 200."""
    order = json.loads(sys.argv[1])
    lifeline = socket.socket(fileno=order["lifeline"])
    threading.Thread(target=_leave_with, args=(lifeline, Path(order["address"]).parent), daemon=True).start()
    os.sched_setaffinity(0, order["cores"])
    port = _free_port()
    where = order["address"] if "{address}" in order["command"] else f"127.0.0.1:{port}"
    command = [each.replace("{port}", str(port)).replace("{address}", order["address"]) for each in order["command"]]
    try:
        server = subprocess.Popen(
            command,
            env={**os.environ, **order["environment"]},
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            preexec_fn=_end_with_parent,
        )
    except OSError as error:
        lifeline.sendall(json.dumps({"error": f"{command[0]} cannot be started: {error}"}).encode() + b"\n")
        return
    while server.poll() is None and not _healthy(where, order["health"]):
        time.sleep(_LOOK_S)
    if server.poll() is None:
        lifeline.sendall(json.dumps({"address": where}).encode() + b"\n")
        server.wait()
    sys.exit(f"{command[0]} has ended with code {server.returncode}")


def _free_port() -> int:
    with socket.socket() as asking:
        asking.bind(("127.0.0.1", 0))
        return int(asking.getsockname()[1])


def _healthy(where: str, path: str) -> bool:
    """Whether a server answers there: at a Unix socket, or HOST:PORT."""
    asking = http.client.HTTPConnection("127.0.0.1", timeout=5)
    try:
        asking.sock = _connected(where)
        asking.request("GET", path)
        return asking.getresponse().status == 200
    except (http.client.HTTPException, OSError):
        return False
    finally:
        asking.close()


def _connected(where: str) -> socket.socket:
    if not where.startswith("/"):
        host, _, port = where.rpartition(":")
        return socket.create_connection((host, int(port)), 5)
    found = socket.socket(socket.AF_UNIX)
    found.settimeout(5)
    try:
        found.connect(where)
    except OSError:
        found.close()
        raise
    return found


def _end_with_parent() -> None:
    """The server ends with this process, also when that is killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _leave_with(lifeline: socket.socket, folder: Path) -> None:
    """Leave at once when the worker is gone, with all that was started."""
    while lifeline.recv(1):
        pass
    shutil.rmtree(folder, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
