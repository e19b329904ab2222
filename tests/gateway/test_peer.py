"""How a worker comes by the parameters of a stage: from a shared disk, from what it has kept, or whole."""

from __future__ import annotations

import asyncio
import socket

import pytest

from synfire.base.errors import PermanentError, UnknownName, UserError
from synfire.formats.weights import digest_of, located
from synfire.gateway import peer as peers
from synfire.gateway.peer import WorkerPeer
from synfire.graph import Graph, Synapse
from synfire.ops import Clock, Kind, Signal
from synfire.ops.language_model import LanguageModel
from synfire.store.kept import KeptBlobs
from synfire.testing.graphs import random_graph
from synfire.wire.graphs import blobs_of, keep_graph, name_graph, pack_graph, unpack_graph
from synfire.wire.links import SocketLink
from synfire.worker.builder import Builder

GRAPH = random_graph(1)


def sent(distant, *refusals):
    """What is sent of the graph, until an order is not refused, and the error that the last one is refused with, if it is."""
    packed, left = [], list(refusals)

    async def order(data):
        packed.append(data)
        if left:
            raise left.pop(0)

    async def main():
        ours, theirs = socket.socketpair()
        peer = WorkerPeer("w0", SocketLink(ours, "w0"), "d")
        peer.distant = distant
        try:
            await peer._given(GRAPH, order)
        finally:
            peer.close()
            theirs.close()

    asyncio.run(main())
    return packed


def test_a_worker_without_a_shared_disk_is_given_the_graph_whole():
    assert sent(False) == [pack_graph(GRAPH)]


def test_a_worker_of_another_machine_is_asked_whether_it_has_kept_the_parameters():
    assert sent(True) == [name_graph(GRAPH)]


@pytest.mark.parametrize("kind", [UnknownName, PermanentError])
def test_what_it_has_not_kept_or_has_decayed_there_is_sent_to_be_kept(kind):
    assert sent(True, kind("it is not here")) == [name_graph(GRAPH), keep_graph(GRAPH)]


def test_large_parameters_come_before_the_graph_in_pieces_and_go_on_where_they_were(monkeypatch, tmp_path):
    monkeypatch.setenv("SYNFIRE_CACHE", str(tmp_path))
    monkeypatch.setattr(peers, "WHOLE_BYTES", 0)
    monkeypatch.setattr(peers, "PIECE_BYTES", 100)
    blobs, orders, pieces = KeptBlobs(), [], []
    (first, content), *_ = blobs_of(GRAPH)
    blobs.take(first, len(content), 0, content[:50])

    async def order(data):
        orders.append(data)
        unpack_graph(data)

    async def main():
        ours, theirs = socket.socketpair()
        peer = WorkerPeer("w0", SocketLink(ours, "w0"), "d")
        peer.distant = True

        async def keep(wanted, piece):
            pieces.append((wanted.digest, wanted.offset, len(piece)))
            return blobs.take(wanted.digest, wanted.size, wanted.offset, piece)

        peer._keep = keep
        try:
            await peer._given(GRAPH, order)
        finally:
            peer.close()
            theirs.close()

    asyncio.run(main())
    assert orders == [name_graph(GRAPH)] * 2
    assert max(size for _, _, size in pieces) <= 100
    assert [(offset, size) for digest, offset, size in pieces if digest == first][:2] == [
        (0, 0),
        (50, min(100, len(content) - 50)),
    ]
    assert {digest for digest, _, _ in pieces} == {digest for digest, _ in blobs_of(GRAPH)}


def test_files_of_whole_models_come_first_where_the_worker_does_not_have_them(monkeypatch, tmp_path):
    monkeypatch.setenv("SYNFIRE_CACHE", str(tmp_path / "here"))
    monkeypatch.setattr(peers, "PIECE_BYTES", 1000)
    weights = tmp_path / "net.gguf"
    weights.write_bytes(bytes(range(250)) * 100)
    digest = digest_of(weights)
    model = LanguageModel("gguf", (("net.gguf", digest), ("gone.gguf", "0" * 64)), 25_000, 128)
    graph = Graph({"m": model}, (Synapse("x", "m"),), {"x": Signal((), Kind.BYTES, Clock.REQUEST)}, {"y": "m"})
    asked, there = [], Builder()

    async def order(data):
        asked.append("order")

    async def main():
        ours, theirs = socket.socketpair()
        peer = WorkerPeer("w0", SocketLink(ours, "w0"), "d")
        peer.distant = True

        async def keep(wanted, piece):
            monkeypatch.setenv("SYNFIRE_CACHE", str(tmp_path / "there"))
            said = there._keep(wanted, memoryview(piece))
            monkeypatch.setenv("SYNFIRE_CACHE", str(tmp_path / "here"))
            assert said.kind == "", said.text
            asked.append((wanted.digest, len(piece)))
            return said.have

        peer._keep = keep
        try:
            await peer._given(graph, order)
            await peer._given(graph, order)
        finally:
            peer.close()
            theirs.close()
            there.close()

    asyncio.run(main())
    assert asked == [(digest, 0), *[(digest, 1000)] * 25, "order", (digest, 0), "order"]
    monkeypatch.setenv("SYNFIRE_CACHE", str(tmp_path / "there"))
    assert located(digest).read_bytes() == weights.read_bytes()


def test_what_it_refuses_otherwise_is_not_sent_again():
    with pytest.raises(UserError, match="no such engine"):
        sent(True, UserError("no such engine"))
