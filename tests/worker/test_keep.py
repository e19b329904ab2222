"""A worker on another machine is sent large parameters in pieces, and builds from what it keeps."""

from __future__ import annotations

import asyncio
import threading

import pytest

from synfire.base.errors import UserError
from synfire.gateway import peer as peers
from synfire.gateway.peer import WorkerPeer
from synfire.store.kept import KeptBlobs
from synfire.testing.graphs import random_graph
from synfire.wire.graphs import blobs_of
from synfire.wire.messages import Keep
from synfire.worker.settings import Settings
from synfire.worker.worker import Worker


@pytest.fixture
def address(tmp_path, monkeypatch):
    """A worker that runs in a thread; where it listens."""
    monkeypatch.setenv("SYNFIRE_CACHE", str(tmp_path / "cache"))
    worker = Worker("far", "d", [f"unix:{tmp_path / 'far.sock'}"], Settings())
    thread = threading.Thread(target=worker.run)
    thread.start()
    yield worker.addresses[0]
    worker.post(worker.stop)
    thread.join()


def asked(address, story):
    async def main():
        peer = await WorkerPeer.reach("far", address, "d", "gateway-d")
        peer.distant = True
        try:
            return await story(peer)
        finally:
            peer.close()

    return asyncio.run(main())


def test_a_stage_is_built_of_parameters_that_came_in_pieces(address, monkeypatch):
    monkeypatch.setattr(peers, "WHOLE_BYTES", 0)
    monkeypatch.setattr(peers, "PIECE_BYTES", 64)
    graph = next(each for each in map(random_graph, range(50)) if sum(len(b) for _, b in blobs_of(each)) > 500)
    assert asked(address, lambda peer: peer.prepare("cpu", graph)).kind == ""
    assert {digest for digest, _ in blobs_of(graph)} <= set(KeptBlobs())


def test_a_piece_that_is_not_what_was_announced_is_refused_with_the_reason(address):
    with pytest.raises(UserError, match="nothing of it is kept"):
        asked(address, lambda peer: peer._keep(Keep("0" * 64, 3), b"abc"))
