"""The process: it loads the model, says so, and serves until the other end of its lifeline is closed."""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .server import Model, Server


def run(engine: str, order: dict[str, Any], load: Callable[[dict[str, Any]], Model]) -> None:
    """Serve what `load` makes of the order: `address`, a Unix socket; `cores`, `streams`, and `lifeline`, a descriptor; the rest is the
    engine's own."""
    lifeline = socket.socket(fileno=order["lifeline"])
    threading.Thread(target=_leave_with, args=(lifeline, Path(order["address"]).parent), daemon=True).start()
    os.sched_setaffinity(0, order["cores"])
    try:
        server = Server(order["address"], load(order), order["streams"])
    except Exception as error:
        said = f"{engine} cannot load {order['model']}: {type(error).__name__}: {error}"
        lifeline.sendall(json.dumps({"error": said}).encode() + b"\n")
        return
    lifeline.sendall(json.dumps({"address": order["address"]}).encode() + b"\n")
    server.serve()


def _leave_with(lifeline: socket.socket, folder: Path) -> None:
    """Leave at once when the worker is gone, whatever runs."""
    while lifeline.recv(1):
        pass
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)
