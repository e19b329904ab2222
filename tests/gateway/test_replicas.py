"""Several replicas of one model: who is called, and what becomes of calls when one is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from synfire.base.errors import Interrupted, TemporaryError, UserError
from synfire.gateway.call import Call, Part
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.echo import EchoRoute
from synfire.gateway.protection import Protection, Saved
from synfire.gateway.replicas import Replicas
from synfire.gateway.served import Served

GRAPH = EchoRoute().graph


@dataclass
class Copy:
    """A replica that gives five parts, or is lost after some; counts its calls, and waits where it is told to."""

    name: str
    lost_after: int | None = None
    standing: bool = True
    ready: bool = True
    failure: Exception | None = None
    replays: int = 0
    restored: int = 0
    engines: dict[str, str] = field(default_factory=lambda: {"echo": "cpu"})
    calls: list[str] = field(default_factory=list)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    sessions: Protection = field(default_factory=lambda: Protection(["echo"]))
    protected: bool = True
    graph: Any = GRAPH
    plan: Any = EchoRoute().plan

    async def once(self, call: Call, given: int = 0, told: object = None) -> AsyncGenerator[Part, None]:
        self.calls.append(call.id)
        await self.go.wait()
        for place in range(5):
            if place == self.lost_after:
                self.standing = False
                raise Interrupted(f"{self.name} is gone")
            if place >= given:
                yield Part({"y": self.name}, place, 1, place == 4)  # type: ignore[dict-item]

    async def answer(self, call: Call) -> AsyncGenerator[Part, None]:
        track = self.sessions.begin(call, 1, 0.0)
        if track is not None:
            self.sessions.answered(track, call)
        async for part in self.once(call):
            yield part


def replicas_of(*copies: Copy, go: bool = True) -> Replicas:
    found = Replicas(GRAPH)
    for each in copies:
        if go:
            each.go.set()
        found.add(each.name, each)  # type: ignore[arg-type]
    return found


async def parts_of(replicas: Replicas, **call: Any) -> list[tuple[Any, int]]:
    return [(each.outputs["y"], each.first_step) async for each in replicas.answer(Call("1", "m", {}, **call))]


def test_calls_go_to_the_replica_with_the_least_to_do():
    async def story():
        copies = [Copy("a"), Copy("b"), Copy("c")]
        replicas = replicas_of(*copies, go=False)
        calls = [asyncio.ensure_future(parts_of(replicas)) for _ in range(7)]
        for _ in range(5):
            await asyncio.sleep(0)
        counts = [len(each.calls) for each in copies]
        for each in copies:
            each.go.set()
        await asyncio.gather(*calls)
        return counts

    assert asyncio.run(story()) == [3, 2, 2]


def test_calls_count_by_their_samples():
    async def story():
        copies = [Copy("a"), Copy("b")]
        replicas = replicas_of(*copies, go=False)
        sizes = (3, 1, 1, 1)
        inputs = [{"x": np.zeros((size, 3, 32, 32), np.float32)} for size in sizes]
        calls = [asyncio.ensure_future(_drained(replicas, each)) for each in inputs]
        for _ in range(5):
            await asyncio.sleep(0)
        counts = [len(each.calls) for each in copies]
        for each in copies:
            each.go.set()
        await asyncio.gather(*calls)
        return counts

    assert asyncio.run(story()) == [1, 3]


async def _drained(replicas, inputs):
    return [each async for each in replicas.answer(Call("1", "m", inputs))]


def test_a_call_that_loses_its_replica_goes_on_at_another_without_saying_anything_twice():
    replicas = replicas_of(Copy("a", lost_after=2), Copy("b"))
    found = asyncio.run(parts_of(replicas))
    assert found == [("a", 0), ("a", 1), ("b", 2), ("b", 3), ("b", 4)]
    assert (replicas.moved, replicas.replays) == (1, 1)


def test_calls_wait_while_every_replica_is_being_replaced():
    async def story():
        copy = Copy("a", standing=False)
        replicas = replicas_of(copy, Copy("b", standing=False))
        asking = asyncio.ensure_future(parts_of(replicas))
        for _ in range(5):
            await asyncio.sleep(0)
        waited = not asking.done() and not copy.calls
        copy.standing = True
        return waited, await asking

    waited, found = asyncio.run(story())
    assert waited
    assert len(found) == 5


def test_a_model_fails_only_when_all_of_its_replicas_do():
    stopped = TemporaryError("it is stopped")
    one, other = Copy("a", standing=False, ready=False, failure=stopped), Copy("b")
    replicas = replicas_of(one, other)
    assert (replicas.ready, replicas.failure) == (True, None)
    assert [name for name, _ in asyncio.run(parts_of(replicas))] == ["b"] * 5
    other.standing, other.ready, other.failure = False, False, stopped
    assert (replicas.ready, replicas.failure) == (False, stopped)
    with pytest.raises(TemporaryError, match="it is stopped"):
        asyncio.run(parts_of(replicas))


def home_of(replicas: Replicas, session: str, **call: Any) -> str:
    return str(asyncio.run(parts_of(replicas, session=session, **call))[0][0])


def test_a_session_stays_at_the_replica_where_it_began_also_when_others_come():
    copies = [Copy("a"), Copy("b"), Copy("c")]
    replicas = replicas_of(*copies)
    homes = {session: home_of(replicas, session, start=True) for session in "xyzuvw"}
    assert sorted(homes.values()) == ["a", "a", "b", "b", "c", "c"]
    new = Copy("d")
    new.go.set()
    replicas.add("d", new)  # type: ignore[arg-type]
    assert {session: home_of(replicas, session) for session in homes} == homes
    assert home_of(replicas, "n", start=True) == "d"


def test_sessions_move_with_their_state_when_their_replica_goes():
    one, other = Copy("a"), Copy("b")
    replicas = replicas_of(one)
    assert home_of(replicas, "x", start=True) == home_of(replicas, "y", start=True) == "a"
    replicas.add("b", other)  # type: ignore[arg-type]
    other.go.set()
    assert replicas.shut("a")
    assert home_of(replicas, "x") == "b"
    replicas.remove("a")
    track = other.sessions.give("y")
    assert track is not None
    assert (track.epoch, len(track.calls)) == (-1, 1)
    other.sessions.take(track)
    assert home_of(replicas, "y") == "b"
    assert len(one.sessions) == 0


def test_a_session_that_has_ended_is_forgotten():
    replicas = replicas_of(Copy("a"), Copy("b"))
    home_of(replicas, "x", start=True)
    home_of(replicas, "x", end=True)
    assert home_of(replicas, "y", start=True) == "a"


def test_a_session_cannot_go_on_from_a_checkpoint_on_another_device():
    one, other = Copy("a"), Copy("b", engines={"echo": "darwin3"})
    replicas = replicas_of(one)
    home_of(replicas, "x", start=True)
    track = one.sessions.give("x")
    assert track is not None
    track.states = {"echo": Saved({}, "a", None)}
    one.sessions.take(track)
    replicas.add("b", other)  # type: ignore[arg-type]
    replicas.remove("a")
    moved = other.sessions.give("x")
    assert moved is not None
    with pytest.raises(TemporaryError, match="moved to another device"):
        moved.check(Call("1", "m", {}, session="x"))


def test_a_replica_that_closes_gets_no_new_call_as_long_as_there_are_others():
    async def story():
        one, other = Copy("a"), Copy("b")
        replicas = replicas_of(one, other, go=False)
        before = asyncio.ensure_future(parts_of(replicas))
        await asyncio.sleep(0)
        busy = not replicas.shut("a")
        later = [asyncio.ensure_future(parts_of(replicas)) for _ in range(3)]
        for each in (one, other):
            each.go.set()
        await asyncio.gather(before, *later)
        return busy, replicas.shut("a"), len(one.calls), len(other.calls)

    assert asyncio.run(story()) == (True, True, 1, 3)


def test_an_answer_is_not_gone_on_with_on_another_device():
    replicas = replicas_of(Copy("a", lost_after=1), Copy("b", engines={"echo": "darwin3"}))
    with pytest.raises(Interrupted, match="another device, which computes otherwise; ask again"):
        asyncio.run(parts_of(replicas))


def test_replicas_are_one_model_at_the_gateway_until_the_last_is_gone():
    async def story():
        plane = DataPlane()
        served = Served(plane)
        for name in ("net@2#1", "net@2#2", "net@3"):
            served.add(name, Copy(name), "1")  # type: ignore[arg-type]
        told = [(model.name, model.version, len(model.plans)) for model in plane.models]
        served.remove("net@2#1")
        left = plane.versions("net")
        served.remove("net@2#2")
        with pytest.raises(UserError, match="is served already"):
            served.add("net@3", Copy("again"), "1")  # type: ignore[arg-type]
        return told, left, plane.versions("net")

    told, left, last = asyncio.run(story())
    assert told == [("net", "2", 2), ("net", "3", 1)]
    assert (left, last) == (("2", "3"), ("3",))
