"""Ray Serve on this machine, without Kubernetes: two replicas, of which one is killed while callers ask."""

from __future__ import annotations

import base64
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from synfire.base.errors import PermanentError, UserError
from synfire.bench.benchmark import Progress
from synfire.bench.kubernetes.ground import until
from synfire.bench.kubernetes.subject import KILL, MODEL, PATIENCE_S, QUIET_S, Aimed, Pace, job_of, under_load
from synfire.bench.kubernetes.trials import rows
from synfire.bench.peers import PEERS
from synfire.bench.peers.server import Setup, ask, running
from synfire.bench.witness import Case
from synfire.graph import flatten
from synfire.ops import Array
from synfire.zoo import load

NAME = "ray"
REPLICAS, TRIALS = 2, 10
SAMPLES = 32
REPLICA = "ray::ServeReplica"
"""What a replica's process is called."""

EVERY_S = 0.2
SETTLE_S = 5.0
"""A process of that name has its model to load; so much longer than others the quiet before a fault is."""


def installed() -> bool:
    return PEERS[NAME].installed


def require() -> None:
    """Raise `UserError` where it is not installed."""
    if not installed():
        raise UserError(
            "ray cannot be imported; docs/serving.md says how to make an environment with it, from which `synfire bench kubernetes --only ray` "
            "is run"
        )


def measured(trials: int, seed: int, progress: Progress) -> list[dict[str, Any]]:
    """Its row. Answers are compared with those that it gave to the same requests before anything was killed."""
    server, rng = PEERS[NAME], random.Random(f"{seed}-{NAME}")
    requests = [server.request(MODEL, each) for each in _images()]
    progress(f"{NAME}: {REPLICAS} replicas are begun")
    with running(server, Setup(model=MODEL, workers=REPLICAS), requests[0]) as url:
        cases = [Case(_text(each), _text(_steady(url, each))) for each in requests]
        job = job_of(url, cases, seed, PATIENCE_S)
        done, seen = under_load(
            job,
            lambda: until(lambda: len(replicas(os.getpid())) == REPLICAS, "that all replicas run", EVERY_S),
            [lambda: _aimed(rng)] * trials,
            Pace(rng, EVERY_S, QUIET_S + SETTLE_S),
            progress,
        )
    return rows(NAME, done, seen)


def replicas(ancestor: int) -> list[int]:
    """The processes of replicas that this process, or one that it has begun, has begun."""
    return sorted(pid for pid in _below(ancestor) if _command(pid).startswith(REPLICA))


def _images() -> Array:
    """Of any values: what is right is what the replicas answer."""
    (signal,) = flatten(load(MODEL)).inputs.values()
    return np.random.default_rng(0).random((SAMPLES, *signal.shape)).astype(np.float32)


def _aimed(rng: random.Random) -> Aimed:
    pid = rng.choice(replicas(os.getpid()))
    return Aimed(KILL, "a replica", lambda: os.kill(pid, signal.SIGKILL), lambda: _replaced(pid))


def _replaced(pid: int) -> bool:
    found = replicas(os.getpid())
    return pid not in found and len(found) == REPLICAS


def _steady(url: str, request: bytes) -> bytes:
    """An answer that it gives again and again, whichever replica gives it. Raises `PermanentError` where there is none."""
    found = {ask(url, request)[1] for _ in range(2 * REPLICAS)}
    if len(found) > 1:
        raise PermanentError(
            "Ray Serve answers one request with different bits; there is no right answer to compare with"
        )
    return found.pop()


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _below(ancestor: int) -> Iterator[int]:
    """All processes that it, or one of these, has begun."""
    children: dict[int, list[int]] = {}
    for each in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = each.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        if fields[0] != "Z":
            children.setdefault(int(fields[1]), []).append(int(each.parent.name))
    yield from _descendants(ancestor, children)


def _descendants(pid: int, children: dict[int, list[int]]) -> Iterator[int]:
    for each in children.get(pid, ()):
        yield each
        yield from _descendants(each, children)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:  # it has ended meanwhile
        return ""
