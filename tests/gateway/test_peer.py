"""How a worker comes by the parameters of a stage: from a shared disk, from what it has kept, or whole."""

from __future__ import annotations

import asyncio
import socket

import pytest

from synfire.base.errors import PermanentError, UnknownName, UserError
from synfire.gateway.peer import WorkerPeer
from synfire.testing.graphs import random_graph
from synfire.wire.graphs import keep_graph, name_graph, pack_graph
from synfire.wire.links import SocketLink

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


def test_what_it_refuses_otherwise_is_not_sent_again():
    with pytest.raises(UserError, match="no such engine"):
        sent(True, UserError("no such engine"))
