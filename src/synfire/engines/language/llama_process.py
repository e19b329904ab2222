"""llama.cpp's server in a process of its own. Run as a file, by `synfire.engines.language.child`: it imports nothing of synfire."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import threading
from pathlib import Path
from typing import Any

HTTP_THREADS_BESIDE = 4
"""Beside one for each answer: for a question that comes while another one's connection is being closed."""


def main() -> None:
    """Load the model, say so, and serve until the other end of the lifeline is closed."""
    order = json.loads(sys.argv[1])
    lifeline = socket.socket(fileno=order["lifeline"])
    threading.Thread(target=_leave_with, args=(lifeline, Path(order["address"]).parent), daemon=True).start()
    os.sched_setaffinity(0, order["cores"])
    try:
        server = _server(order)
    except Exception as error:
        lifeline.sendall(json.dumps({"error": f"llama.cpp cannot load {order['model']}: {error}"}).encode() + b"\n")
        return
    lifeline.sendall(json.dumps({"address": server.listening_address}).encode() + b"\n")
    threading.Event().wait()


def _server(order: dict[str, Any]) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = order["model"]
    params.hostnames = [order["address"]]
    params.n_parallel = order["streams"]
    params.n_ctx = order["context"] * order["streams"]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = len(order["cores"])
    params.n_threads_http = order["streams"] + HTTP_THREADS_BESIDE
    params.fit_params = False  # the context is what was asked for, or loading fails
    params.cache_ram_mib = 0  # what is unloaded gives its memory back, and what is loaded holds what was planned
    params.ctx_shift = False
    params.ui = False
    if order.get("pooling"):
        params.embedding = True
        params.kv_unified = True  # else the mean of one text's tokens is made of others' that are read beside it
        params.kv_unified_per_slot = order["context"]
        params.pooling_type = getattr(xllamacpp.llama_pooling_type, f"LLAMA_POOLING_TYPE_{order['pooling'].upper()}")
        # A text's vector is made of all of its tokens at once; and llama.cpp ends by an assertion where streams do not divide a batch.
        params.n_batch = params.n_ubatch = -(-order["context"] // order["streams"]) * order["streams"]
    params.lora_adapters = [_adapter(path) for path in order.get("adapters", ())]
    params.verbosity = 1
    return xllamacpp.Server(params)


def _adapter(path: str) -> Any:
    import xllamacpp

    found = xllamacpp.CommonAdapterLoraInfo()
    found.path, found.scale = path, 1.0
    return found


def _leave_with(lifeline: socket.socket, folder: Path) -> None:
    """Leave at once when the worker is gone, whatever runs."""
    while lifeline.recv(1):
        pass
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


if __name__ == "__main__":
    main()
