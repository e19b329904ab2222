"""The process: it loads the model, says so, and serves until the other end of its lifeline is closed."""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
from pathlib import Path
from typing import Any


def main(argument: str) -> None:
    """Serve as the order says: `model`, a directory; `address`, a Unix socket; `cores`, `context`, `streams`, and `lifeline`, a descriptor."""
    order = json.loads(argument)
    lifeline = socket.socket(fileno=order["lifeline"])
    threading.Thread(target=_leave_with, args=(lifeline, Path(order["address"]).parent), daemon=True).start()
    os.sched_setaffinity(0, order["cores"])
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}  # all that it needs lies in the directory
    try:
        server = _server(order)
    except Exception as error:
        said = f"transformers cannot load {order['model']}: {type(error).__name__}: {error}"
        lifeline.sendall(json.dumps({"error": said}).encode() + b"\n")
        return
    lifeline.sendall(json.dumps({"address": order["address"]}).encode() + b"\n")
    server.serve()


def _server(order: dict[str, Any]) -> Any:
    import torch

    from .model import Model
    from .server import Server

    torch.set_num_threads(len(order["cores"]))
    torch.set_grad_enabled(False)
    return Server(order["address"], Model(order["model"], order["context"]), order["streams"])


def _leave_with(lifeline: socket.socket, folder: Path) -> None:
    """Leave at once when the worker is gone, whatever runs."""
    while lifeline.recv(1):
        pass
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)
