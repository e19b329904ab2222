"""Workers that the supervisor begins, or has begun elsewhere, at the controller's word: what the one says, and the other is told."""

from __future__ import annotations

import asyncio
import socket

import pytest

from synfire.base.errors import PermanentError
from synfire.deploy.crew import RemoteCrew
from synfire.deploy.launch import Launch
from synfire.wire.links import SocketLink
from synfire.wire.links.watched import WatchedLink
from synfire.wire.messages import Crew, Exited, Joined, Renew, Spawn, Spawned
from synfire.wire.stream import Packet

PATIENCE_S = 20.0
JOINED = Joined("rack", "", 4, 1 << 30)


class Supervisor:
    """Says what the test wants it to say; `heard` are the orders."""

    def __init__(self, end):
        self.heard = asyncio.Queue()
        self.link = WatchedLink(SocketLink(end, "the controller"), self._take, lambda error: None)

    def say(self, message):
        self.link.tell(Packet(message))

    async def hears(self):
        return await asyncio.wait_for(self.heard.get(), PATIENCE_S)

    def _take(self, packet):
        self.heard.put_nowait(packet.message)


def between(story):
    """The story of a controller's crew and its supervisor."""

    async def main():
        ours, theirs = socket.socketpair()
        supervisor = Supervisor(theirs)
        crew = RemoteCrew(SocketLink(ours, "the supervisor"), lambda error: None)
        try:
            await asyncio.wait_for(story(crew, supervisor), PATIENCE_S)
        finally:
            crew.close()
            supervisor.link.close()

    asyncio.run(main())


def joined(name):
    return Spawned(name, 7, ("tls://10.0.0.2:1",), "", joined=JOINED)


def test_a_worker_is_begun_anew_where_that_is_wanted():
    async def story(crew, supervisor):
        crew.start(Launch("w", "d", "unix:/w", anew=True))
        crew.start(Launch("v", "d", "unix:/v"))
        assert [(each.name, each.anew) for each in (await supervisor.hears(), await supervisor.hears())] == [
            ("w", True),
            ("v", False),
        ]

    between(story)


@pytest.mark.parametrize("pid", [0, 7], ids=["while it begins", "when it is ready"])
def test_a_worker_that_is_waited_for_before_the_supervisor_tells_of_it_is_the_one_that_it_tells_of(pid):
    async def story(crew, supervisor):
        process = crew.start(Launch("w", "d", "unix:/w"))
        supervisor.say(Crew((Spawned("w", pid, ("unix:/w",) if pid else (), ""),)))
        assert (await crew.known())["w"] is process
        if not pid:
            supervisor.say(Spawned("w", 7, ("unix:/w",), ""))
        assert (await process.ready(PATIENCE_S)).addresses == ["unix:/w"]
        supervisor.say(Exited("w", -9, "was killed"))
        assert await process.exited() == -9

    between(story)


def test_whoever_takes_anothers_place_has_arrived_when_that_is_done():
    async def story(crew, supervisor):
        arrived = []
        crew.on_arrived(arrived.append)
        renewing = asyncio.create_task(crew.renew("far", "far.r2"))
        assert await supervisor.hears() == Renew("far", "far.r2")
        supervisor.say(joined("far.r2"))
        await renewing
        assert [(each.name, each.joined, each.is_ready) for each in arrived] == [("far.r2", JOINED, True)]
        assert crew.processes["far.r2"] is arrived[0]
        await crew.renew("far", "far.r2")  # it is there: nothing is asked for again
        crew.start(Launch("w", "d", "unix:/w"))
        assert isinstance(await supervisor.hears(), Spawn)

    between(story)


def test_why_nobody_takes_anothers_place_is_raised_and_it_can_be_tried_again():
    async def story(crew, supervisor):
        for _ in range(2):
            renewing = asyncio.create_task(crew.renew("far", "far.r2"))
            assert await supervisor.hears() == Renew("far", "far.r2")
            supervisor.say(Spawned("far.r2", 0, (), "", "PermanentError", "it left with exit code 7"))
            with pytest.raises(PermanentError, match="exit code 7"):
                await renewing
            assert "far.r2" not in crew.processes

    between(story)


def test_one_that_has_ended_is_begun_again():
    async def story(crew, supervisor):
        supervisor.say(joined("far.r2"))
        supervisor.say(Exited("far.r2", -9, "killed"))
        arrived = asyncio.Queue()
        crew.on_arrived(arrived.put_nowait)
        first = await arrived.get()
        await first.exited()
        renewing = asyncio.create_task(crew.renew("far", "far.r2"))
        assert await supervisor.hears() == Renew("far", "far.r2")
        supervisor.say(joined("far.r2"))
        await renewing

    between(story)


def test_the_supervisor_is_told_to_load_anew_what_it_begins_processes_from():
    async def story(crew, supervisor):
        crew.renew_all()
        assert await supervisor.hears() == Renew()

    between(story)
