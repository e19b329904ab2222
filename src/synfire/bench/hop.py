"""What a frame of spikes costs on its way from one worker process to another, from before it is encoded until it is decoded.

Both ends have nothing else to do, and wait as a worker waits (`synfire.worker.peers.Watch`). Frames follow each other, as in a
pipeline, or come after a rest, when the receiver sleeps and others may have had its core. One way, on `time.monotonic`, which is
the same clock in every process of a host. Beside the links stand the same bytes without any (`synfire.bench.bare`). `python -m
synfire.bench.hop` is the far end.
"""

from __future__ import annotations

import contextlib
import functools
import json
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from synfire.base.errors import Bug, PermanentError, TemporaryError
from synfire.bench.bare import RING, SOCKET, Bare
from synfire.bench.benchmark import BENCHMARKS, Benchmark, Progress, Report, Settings, floor, report, spread
from synfire.gateway.route import WINDOW
from synfire.ops import Array
from synfire.wire import gaps
from synfire.wire.links import Limits, Link, MemoryLink, SocketLink, connect, listen
from synfire.wire.messages import Frame
from synfire.wire.stream import Packet
from synfire.worker.peers import READ, WRITE, Peer, Watch

SIZES = (1 << 10, 1 << 14, 1 << 18)
DENSITIES = (0.01, 0.1, 0.5)
DEFAULT = "same host"
"""The way between two workers of one host: a Unix socket, which large payloads bypass."""

STEPS = 4
TURN = WINDOW
"""So many frames follow each other along a link before it is another link's turn: as many as a call has under way."""

WARM_UP = 64
FLOOR_BYTES = 1 << 14
REST_S = 0.002
"""How long nothing is sent before a frame that comes after a rest."""
RESTED_ROUNDS = 100
PATIENCE_S = 1.0
ROUNDS_BYTES = 1 << 26
"""Larger frames make fewer rounds."""
LIMITS = {"shared memory": Limits(ring_from_bytes=1), "unix socket": Limits(ring_bytes=0)}
"""Where they are not the default."""


class Hop(Benchmark):
    """A frame of `size` bytes holds 8 · `size` spikes of a density, one bit each, over 4 time steps; on a host it travels as
    that bitmap, to another one, over TCP, as whatever is smallest. The floors take the worst of the densities, with frames that
    follow each other. `bare socket` and `bare ring` carry the same bitmap without a link: what no link can be quicker than here."""

    name = "hop"
    about = "one frame of spikes from worker to worker, encode to decode, one way"
    shown = ("link", "frame_bytes", "density", "rest_s", "encoded_bytes", "median_s", "q1_s", "q3_s", "p99_s")

    def measure(self, settings: Settings, progress: Progress) -> Report:
        sizes, rounds = (SIZES[:1], 20) if settings.quick else (SIZES, 2000)
        rows: list[dict[str, Any]] = []
        with _ways() as ways:
            for size in sizes:
                for density in DENSITIES:
                    progress(f"{size} bytes at {density:.0%}")
                    rows += _measure(ways, size, density, min(rounds, ROUNDS_BYTES // size), settings.seed)
                    if size == FLOOR_BYTES:
                        rested = {name: ways[name] for name in (DEFAULT, SOCKET)}
                        rows += _measure(rested, size, density, RESTED_ROUNDS, settings.seed, REST_S)
        floors = [
            floor("hop_16k_p50_us", "<=", 60.0, 1e6 * _worst(rows, "median_s")),
            floor("hop_16k_p99_us", "<=", 300.0, 1e6 * _worst(rows, "p99_s")),
        ]
        return report(self.name, settings, {"rounds": rounds, "steps": STEPS}, rows, floors)


BENCHMARKS.add(Hop.name, Hop())


class Way:
    """A link to the far end, and what came back along it. In memory the far end is here."""

    def __init__(self, near: Link, far: Link | None = None) -> None:
        self.near = near
        self._far = far
        self._watch = Watch()
        self._peer = Peer(near)
        self._packets: list[Packet] = []
        if far is None:
            self._watch.add(self._peer, self._act)

    def hop(self, packet: Packet) -> tuple[float, int, int]:
        """Send a frame and wait until it is known what came of it: seconds one way, its encoded size, and its checksum."""
        sent_s = time.monotonic()
        size = self.near.send(packet)
        if self._far is not None:
            (arrived,) = self._far.receive()
            return time.monotonic() - sent_s, size, checksum(arrived)
        answer = self._answer()
        return float(answer["arrived_s"].item()) - sent_s, size, int(answer["checksum"].item())

    def close(self) -> None:
        self._watch.remove(self._peer)
        self._watch.selector.close()
        self.near.close()

    def _answer(self) -> Mapping[str, Array]:
        self._packets = []
        while not self._packets:
            self._watch.refresh(self._peer)
            for key, events in self._watch.wait(PATIENCE_S):
                key.data(events)
        return self._packets[0].arrays

    def _act(self, events: int) -> None:
        if events & WRITE:
            self.near.flush()
        if events & READ:
            self._packets = self.near.receive()


def checksum(packet: Packet) -> int:
    """Of what a frame of the benchmark carries; of the warm-up only, since reading it all cools the caches."""
    frame = packet.message
    if not isinstance(frame, Frame):
        raise Bug(f"a {type(frame).__name__} came along a link where only frames travel; please report this")
    return zlib.crc32(np.ascontiguousarray(packet.arrays["spikes"]).data) if frame.number < WARM_UP else 0


def _measure(
    ways: Mapping[str, Way | Bare], size: int, density: float, rounds: int, seed: int, rest_s: float = 0.0
) -> list[dict[str, Any]]:
    """A row per link. They take turns of `TURN` frames, and each must carry the same bits."""
    spikes = np.asarray(np.random.default_rng(seed).random((STEPS, 1, 8 * size // STEPS)) < density, np.uint8)
    wanted = zlib.crc32(spikes.data)
    found: dict[str, list[float]] = {name: [] for name in ways}
    encoded = dict.fromkeys(ways, 0)
    for first in range(0, WARM_UP + rounds, TURN):
        for name, way in ways.items():
            for number in range(first, min(first + TURN, WARM_UP + rounds)):
                if rest_s:
                    time.sleep(rest_s)
                packet = Packet(Frame("m", "a", "b", "request", "gateway", number, 0, STEPS), {"spikes": spikes})
                took_s, encoded[name], got = way.hop(packet)
                if number >= WARM_UP:
                    found[name].append(took_s)
                elif got != wanted:
                    raise Bug(f"the {name} link changed a frame of {size} bytes; please report this")
    return [
        {"link": name, "frame_bytes": size, "density": density, "rest_s": rest_s, **_found(encoded[name], found[name])}
        for name in ways
    ]


def _found(encoded: int, found: list[float]) -> dict[str, Any]:
    return {
        "encoded_bytes": encoded,
        **spread(found),
        "p99_s": float(np.quantile(found, 0.99)),
    }


def _worst(rows: list[dict[str, Any]], value: str) -> float:
    wanted = (DEFAULT, FLOOR_BYTES, 0.0)
    found = [row[value] for row in rows if (row["link"], row["frame_bytes"], row["rest_s"]) == wanted]
    return max(found, default=0.0)


@contextlib.contextmanager
def _ways() -> Iterator[dict[str, Way | Bare]]:
    """Links of every kind to one process, which answers along each, and the bare ways."""
    gaps.warm()
    near, far = MemoryLink.pair("near", "far")
    ways: dict[str, Way | Bare] = {"memory": Way(near, far)}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as closing:
        told = {name: f"unix:{Path(folder) / str(n)}" for n, name in enumerate((DEFAULT, *LIMITS))}
        told["tcp"] = "tcp://127.0.0.1:0"
        process = closing.enter_context(
            subprocess.Popen([sys.executable, "-m", "synfire.bench.hop"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(msgspec.json.encode(told) + b"\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            raise PermanentError("the far end of the benchmark did not start; see what it printed")
        for name, address in json.loads(line).items():
            ways[name] = Way(connect(address, "the far end", LIMITS.get(name)))
            closing.callback(ways[name].close)
        for name in (SOCKET, RING):
            ways[name] = Bare(name == RING, WARM_UP)
            closing.callback(ways[name].close)
        yield ways


def serve(addresses: Mapping[str, str]) -> None:
    """Be the far end: answer each frame by when it had arrived, until every link is closed."""
    gaps.warm()
    listeners = {name: listen(address) for name, address in addresses.items()}
    print(json.dumps({name: address for name, (_, address) in listeners.items()}), flush=True)
    watch = Watch()
    for name, (listener, _) in listeners.items():
        listener.setblocking(True)
        peer = Peer(SocketLink(listener.accept()[0], "the near end", LIMITS.get(name)))
        listener.close()
        watch.add(peer, functools.partial(_act, watch, peer))
    while watch.selector.get_map():
        for key, events in watch.wait(PATIENCE_S):
            key.data(events)


def _act(watch: Watch, peer: Peer, events: int) -> None:
    """Answer what has come, or send on what waits, until the other end is gone."""
    try:
        if events & WRITE:
            peer.link.flush()
        if events & READ:
            _give_answers(peer.link)
        watch.refresh(peer)
    except TemporaryError:
        watch.remove(peer)
        peer.link.close()


def _give_answers(link: Link) -> None:
    packets = link.receive()
    arrived_s = time.monotonic()
    for packet in packets:
        answer = {"arrived_s": np.array([arrived_s]), "checksum": np.array([checksum(packet)])}
        link.send(Packet(Frame("m", "b", "a", "request", "gateway", 0), answer))


if __name__ == "__main__":
    serve(json.loads(sys.stdin.readline()))
