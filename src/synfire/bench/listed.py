"""A deployment of a store of many models: what it holds while none is loaded, and what loading one on demand takes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx

from synfire.base.errors import PermanentError
from synfire.bench.benchmark import Progress
from synfire.bench.command import Commanded, commanded
from synfire.bench.soak.processes import census
from synfire.hub.pull import pull
from synfire.hub.source import Into
from synfire.store import ModelName, ModelStore

MODELS = 200
LOADS = 5
WAIT_S = 60.0
_FIRST = "listed-0"


def measured(model: Path, progress: Progress) -> dict[str, Any]:
    """One row: the memory of all processes, and of the gateway, with `MODELS` listed and none loaded; the median time from a call to its answer where the model
    has to be loaded, and of what that takes the share that unloading gives back."""
    with commanded([]) as running, httpx.Client(base_url=running.url, timeout=WAIT_S, trust_env=False) as client:
        _fill(ModelStore(running.home), model)
        for _ in range(3):
            progress(f"{MODELS} models are listed")
            listed = len(client.get("/v1/models").raise_for_status().json()["data"])
        idle, gateway = running.memory_bytes(), _gateway_bytes(running)
        _ask(client)  # an engine was never begun before: its files are read from the disk
        _unload(client)
        loads = [_loaded(client, running, progress) for _ in range(LOADS)]
    return {
        "listed": listed,
        "idle_bytes": idle,
        "idle_gateway_bytes": gateway,
        "load_s": sorted(each["load_s"] for each in loads)[LOADS // 2],
        "loaded_bytes": loads[0]["loaded_bytes"],
        "unload_ratio": sorted(each["unload_ratio"] for each in loads)[LOADS // 2],
    }


def _fill(store: ModelStore, model: Path) -> None:
    """One model under many names."""
    pull(str(model), Into(store), ModelName(_FIRST))
    for number in range(1, MODELS):
        store.copy(ModelName(_FIRST), ModelName(f"listed-{number}"))


def _gateway_bytes(running: Commanded) -> int:
    """What the gateway's process holds, pages that it shares with others counted whole."""
    return sum(each.rss_bytes for each in census(running.home) if each.role.startswith("gateway"))


def _loaded(client: httpx.Client, running: Commanded, progress: Progress) -> dict[str, Any]:
    progress("load on demand, and unload")
    before, began_s = running.memory_bytes(), time.perf_counter()
    _ask(client)
    load_s, loaded = time.perf_counter() - began_s, running.memory_bytes()
    _unload(client)
    given_back = loaded - running.memory_bytes()
    return {
        "load_s": load_s,
        "loaded_bytes": loaded - before,
        "unload_ratio": given_back / max(loaded - before, 1),
    }


def _ask(client: httpx.Client) -> None:
    body = {"model": _FIRST, "prompt": "the king said", "max_tokens": 2, "temperature": 0}
    client.post("/v1/completions", json=body).raise_for_status()


def _unload(client: httpx.Client) -> None:
    """Unload the model, and wait until its worker has ended, too."""
    client.post("/api/generate", json={"model": _FIRST, "keep_alive": 0, "stream": False}).raise_for_status()
    until_s = time.monotonic() + WAIT_S
    while client.get("/api/ps").json()["models"] or client.get("/api/workers").json():
        if time.monotonic() > until_s:
            raise PermanentError(f"a model was not unloaded within {WAIT_S:g} s; is the machine overloaded?")
        time.sleep(0.05)
    time.sleep(1.0)  # a worker that has left takes a moment to end
