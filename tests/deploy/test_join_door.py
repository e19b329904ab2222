"""The door for workers of other machines: who is let in, who is not, and how it is noticed that one is gone."""

from __future__ import annotations

import asyncio
import select
import signal
import sys
from contextlib import contextmanager
from os import pidfd_open

import pytest

from synfire.base.children import spawned
from synfire.base.errors import SynfireError, UserError
from synfire.deploy.join import agent as agents
from synfire.deploy.join import door as doors
from synfire.deploy.join.agent import Agent, Offer
from synfire.deploy.join.door import JoinDoor
from synfire.deploy.join.pauses import Pauses
from synfire.deploy.join.secret import credential_of, write_credential
from synfire.wire.links import connect, tls
from synfire.wire.links.tls import hold
from synfire.wire.links.watched import WatchedLink
from synfire.wire.messages import Done, Exited, Failure, Join, Joined, Renew, Signal, Spawned, Welcome
from synfire.wire.stream import Packet

OFFER = Joined("rack", "", 4, 1 << 30)
PATIENCE_S = 20.0


class House:
    """A deployment with a worker of its own, `own`, and what has joined it; it waits for the workers `awaited`."""

    def __init__(self, deployment="d", awaited=()):
        self.deployment = deployment
        self.awaited = set(awaited)
        self.agents = {"own": ""}
        self.parted = []
        self.missing = asyncio.Queue()
        self.welcomed = asyncio.Queue()

    def taken(self, name):
        return self.agents.get(name)

    async def part(self, name):
        self.parted.append(name)

    def welcome(self, worker):
        self.agents[worker.name] = worker.agent
        self.welcomed.put_nowait(worker)

    def missed(self, news):
        self.missing.put_nowait(news)

    def awaits(self, name):
        return name in self.awaited


class Machine:
    """Another machine, which says what the test wants it to say."""

    def __init__(self, door):
        self.heard = asyncio.Queue()
        self.link = WatchedLink(connect(door.address, "the door"), self._take, self.heard.put_nowait)

    def say(self, message):
        self.link.tell(Packet(message))

    async def hears(self, kind):
        """The next message of that kind, or the error that ends the link."""
        while True:
            told = await asyncio.wait_for(self.heard.get(), PATIENCE_S)
            if isinstance(told, (kind, SynfireError)):
                return told

    def _take(self, packet):
        self.heard.put_nowait(packet.message)


@pytest.fixture(autouse=True)
def credential(monkeypatch):
    monkeypatch.setattr(tls, "_HELD", [])
    hold(credential_of("t" * 32))


def at_the_door(story):
    async def main():
        house = House()
        door = JoinDoor("127.0.0.1:0", house, b'{"threads":1}')
        door.open()
        try:
            await story(house, door)
        finally:
            door.close()

    asyncio.run(main())


async def welcomed(machine, name="far", agent="a", host="", holds=""):
    machine.say(Join(name, agent, OFFER, host, holds))
    return await machine.hears((Welcome, Failure))


async def let_in(house, machine, **options):
    await welcomed(machine, **options)
    machine.say(Spawned("far", 7, ("tls://127.0.0.1:1",), "http://h"))
    worker = await asyncio.wait_for(house.welcomed.get(), PATIENCE_S)
    assert (await machine.hears(Done)).told == "d"
    return worker


@pytest.fixture
def reached(monkeypatch):
    """Every worker is reached."""

    async def call(name, spawned, deployment):
        return None

    monkeypatch.setattr(doors, "_call", call)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("worker-0", "the deployment's own"),
        ("spare-3", "the deployment's own"),
        ("a b", "is no name for a worker"),
        ("", "is no name for a worker"),
        ("own", "choose another one with --name"),
    ],
)
def test_a_name_that_is_none_or_another_ones_is_refused(name, words):
    async def story(house, door):
        told = await welcomed(Machine(door), name)
        assert isinstance(told, Failure)
        assert (told.kind, words in told.text) == ("UserError", True)

    at_the_door(story)


def test_a_worker_is_told_the_deployment_its_settings_and_where_it_calls_from():
    async def story(house, door):
        assert await welcomed(Machine(door)) == Welcome("d", "127.0.0.1", b'{"threads":1}')
        assert (await welcomed(Machine(door), host="10.0.0.7")).host == "10.0.0.7"

    at_the_door(story)


@pytest.mark.parametrize("address", ["tls://127.0.0.1:1", "unix:/nowhere", "tcp://127.0.0.1:1"])
def test_a_worker_that_is_not_reached_where_it_says_is_refused(address):
    async def story(house, door):
        machine = Machine(door)
        await welcomed(machine)
        machine.say(Spawned("far", 7, (address,)))
        told = await machine.hears(Failure)
        assert "let firewalls pass that" in told.text
        assert house.welcomed.empty()

    at_the_door(story)


def test_signals_go_to_its_machine_and_its_end_comes_from_there(reached):
    async def story(house, door):
        machine = Machine(door)
        worker = await let_in(house, machine)
        assert (worker.joined.group, worker.joined.door) == ("rack", "127.0.0.1")
        worker.signal(signal.SIGKILL)
        assert await machine.hears(Signal) == Signal("far", signal.SIGKILL)
        machine.say(Exited("far", -9, "it was killed"))
        assert await asyncio.wait_for(worker.exited(), PATIENCE_S) == -9
        assert await worker.obituary() == "it was killed"

    at_the_door(story)


def test_a_machine_has_another_worker_begun_beside_its_own_and_says_where_that_cannot_be(reached):
    async def story(house, door):
        machine = Machine(door)
        worker = await let_in(house, machine)
        worker.renew("far.r2")
        assert await machine.hears(Renew) == Renew("far", "far.r2")
        no = Spawned("far.r2", 0, (), "", "PermanentError", "it left with exit code 7")
        machine.say(no)
        assert await asyncio.wait_for(house.missing.get(), PATIENCE_S) == no
        assert worker.running

    at_the_door(story)


def test_a_machine_whose_link_breaks_has_lost_its_worker(reached):
    async def story(house, door):
        machine = Machine(door)
        worker = await let_in(house, machine)
        machine.link.close()
        await asyncio.wait_for(worker.exited(), PATIENCE_S)
        assert "the connection to its machine was lost" in await worker.obituary()

    at_the_door(story)


def test_a_machine_that_is_silent_has_lost_its_worker(reached, monkeypatch):
    monkeypatch.setattr(doors, "SILENT_S", 0.05)
    monkeypatch.setattr(doors, "BEAT_S", 0.01)

    async def story(house, door):
        worker = await let_in(house, Machine(door))
        await asyncio.wait_for(worker.exited(), PATIENCE_S)
        assert "nothing was heard of its machine" in await worker.obituary()

    at_the_door(story)


@pytest.mark.parametrize(
    ("awaited", "holds", "goes_on"), [("far", "d", True), ("far", "c", False), ("far", "", False), ("near", "d", False)]
)
def test_a_deployment_goes_on_with_its_own_workers_that_it_waits_for(awaited, holds, goes_on):
    async def story(house, door):
        house.awaited = {awaited}
        assert (await welcomed(Machine(door), holds=holds)).goes_on == goes_on

    at_the_door(story)


def test_a_worker_that_is_back_when_others_have_its_stages_already_is_sent_away(reached):
    async def story(house, door):
        house.awaited = {"far"}
        machine = Machine(door)
        assert (await welcomed(machine, holds="d")).goes_on
        house.awaited.clear()
        machine.say(Spawned("far", 7, ("tls://127.0.0.1:1",)))
        assert "it begins anew" in (await machine.hears(Failure)).text
        assert house.welcomed.empty()

    at_the_door(story)


def test_a_machine_that_comes_again_takes_its_own_place_and_nobody_elses(reached):
    async def story(house, door):
        await let_in(house, Machine(door))
        assert isinstance(await welcomed(Machine(door), agent="b"), Failure)
        await let_in(house, Machine(door))
        assert house.parted == ["far", "far"]

    at_the_door(story)


def test_a_machine_with_another_token_is_not_heard():
    async def story(house, door):
        machine = Machine(door)
        hold(credential_of("u" * 32))
        told = await welcomed(machine)
        assert isinstance(told, UserError)
        assert "give both sides the same token" in str(told)

    at_the_door(story)


def test_when_the_door_closes_all_who_have_joined_are_gone(reached):
    async def story(house, door):
        machine = Machine(door)
        worker = await let_in(house, machine)
        door.close()
        assert await worker.exited() == -signal.SIGKILL
        assert isinstance(await machine.hears(Failure), SynfireError)

    at_the_door(story)


DEAF = """
import json, os, signal, socket, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
lifeline = socket.socket(fileno=int(sys.argv[1]))
lifeline.sendall(json.dumps({"name": "far", "pid": os.getpid(), "addresses": ["tls://127.0.0.1:1"]}).encode() + b"\\n")
lifeline.recv(1)
"""
"""A worker's process that takes no SIGTERM."""


def of_agent(door, folder, told=lambda deployment, said: None):
    """An agent of a worker `far`, whose process is that one."""
    port = int(door.address.rpartition(":")[2])
    offer = Offer("far", ("127.0.0.1", port), OFFER, write_credential(credential_of("t" * 32), folder), stop_s=0.2)
    return Agent(offer, told, lambda words, keeps: spawned([sys.executable, "-c", DEAF, str(keeps[0])], keeps))


def cut_short(door):
    """What is left of a door whose process was killed: no link, and nobody who listens."""
    asyncio.get_running_loop().remove_reader(door._listener.fileno())
    door._listener.close()
    door._listener = None
    for caller in list(door._callers):
        caller._living.cancel()
        caller._watched.close()
    door._callers.clear()


@contextmanager
def begun_again(door, house):
    """Another door at the same place."""
    again = JoinDoor(door.address.removeprefix("tls://"), house, b"{}")
    again.open()
    yield again
    again.close()


async def coming(house):
    """The number of the process that joins next."""
    return (await asyncio.wait_for(house.welcomed.get(), PATIENCE_S)).announcement.pid


async def ended(descriptor):
    """Wait until that process has ended."""
    found, _, _ = await asyncio.to_thread(select.select, [descriptor], [], [], PATIENCE_S)
    assert found


def losing_its_door(tmp_path, story):
    """The story of an agent, from when its worker has joined at a door that is then killed; `story` gets the door, and that process."""

    async def whole(house, door):
        agent = of_agent(door, tmp_path)
        living = asyncio.create_task(agent.run())
        pid = await coming(house)
        cut_short(door)
        await story(door, pid)
        agent.leave()
        await asyncio.wait_for(living, PATIENCE_S)

    at_the_door(whole)


def test_a_worker_that_lost_its_door_is_held_for_it_and_goes_on_when_it_is_back(reached, tmp_path):
    async def story(door, pid):
        house = House(awaited={"far"})
        with begun_again(door, house):
            assert await coming(house) == pid

    losing_its_door(tmp_path, story)


@pytest.mark.parametrize(("deployment", "awaited"), [("d", ()), ("other", ("far",))])
def test_a_worker_that_lost_its_door_is_ended_where_nobody_goes_on_with_it(reached, tmp_path, deployment, awaited):
    async def story(door, pid):
        house, process = House(deployment, awaited), pidfd_open(pid)
        with begun_again(door, house):
            assert await coming(house) != pid
            await ended(process)

    losing_its_door(tmp_path, story)


def test_a_worker_that_lost_its_door_is_not_held_for_ever(reached, tmp_path, monkeypatch):
    monkeypatch.setattr(agents, "HOLD_S", 0.0)

    async def story(door, pid):
        await ended(pidfd_open(pid))

    losing_its_door(tmp_path, story)


def test_a_worker_whose_deployment_has_ended_as_it_was_told_to_is_ended_at_once(reached, tmp_path):
    async def story(house, door):
        agent = of_agent(door, tmp_path)
        living = asyncio.create_task(agent.run())
        process = pidfd_open(await coming(house))
        door.close()
        await ended(process)
        agent.leave()
        assert await asyncio.wait_for(living, PATIENCE_S) == 0

    at_the_door(story)


def test_a_door_that_is_lost_is_called_as_often_however_often_it_was_called_before(reached, tmp_path, monkeypatch):
    pauses, called = [], asyncio.Event()

    async def waited(event, for_s):
        pauses.append(for_s)
        called.set()
        await asyncio.sleep(0)

    monkeypatch.setattr(agents, "_waited", waited)

    async def until_called(times):
        while len(pauses) < times:
            called.clear()
            await asyncio.wait_for(called.wait(), PATIENCE_S)

    async def story(door, pid):
        await until_called(30)
        house = House(awaited={"far"})
        with begun_again(door, house) as again:
            assert await coming(house) == pid
            cut_short(again)
            before = len(pauses)
            await until_called(before + 5)
            assert max(pauses[before:]) <= 0.4

    losing_its_door(tmp_path, story)


def test_pauses_grow_where_the_door_is_there_and_nothing_comes_of_it_and_nowhere_else():
    pauses = Pauses()
    vain = {"answered": True, "lost": False, "lasted_s": 1.0}
    assert [pauses.after(**vain) for _ in range(6)] == [0.1, 0.5, 1.0, 2.0, 5.0, 5.0]
    assert pauses.after(answered=True, lost=True, lasted_s=1.0) == 0.05
    away = [pauses.after(answered=False, lost=False, lasted_s=0.0) for _ in range(80)]
    assert (away[:3], away[-1]) == ([0.1, 0.2, 0.4], 2.0)
    assert pauses.after(answered=True, lost=True, lasted_s=1.0) == 0.05
    assert pauses.after(**vain) == 5.0
    assert pauses.after(answered=True, lost=False, lasted_s=31.0) == 0.1


def test_a_worker_that_does_not_leave_when_it_is_told_to_is_ended_in_time(reached, tmp_path):
    async def story(house, door):
        joined = asyncio.Event()
        agent = of_agent(door, tmp_path, lambda deployment, said: joined.set())
        living = asyncio.create_task(agent.run())
        worker = await asyncio.wait_for(house.welcomed.get(), PATIENCE_S)
        await asyncio.wait_for(joined.wait(), PATIENCE_S)
        agent.leave()
        assert await asyncio.wait_for(living, PATIENCE_S) == 1
        assert await asyncio.wait_for(worker.exited(), PATIENCE_S) == -signal.SIGKILL

    at_the_door(story)
