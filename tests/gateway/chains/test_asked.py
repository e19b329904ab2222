"""Chains that a gateway is told while it serves: called as soon as they fit together, held until then, and unknown when they are gone."""

from __future__ import annotations

import asyncio
import tomllib
from typing import Any

import numpy as np
import pytest

from synfire.base.errors import Overloaded, TemporaryError, UnknownName
from synfire.chains import join
from synfire.chains.reading import chain_of
from synfire.gateway.chains import AskedChains
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.descriptions import repository_index
from synfire.gateway.limits import Limits
from synfire.gateway.recoveries import ToldRecoveries
from synfire.gateway.request import Request
from synfire.wire.chain import ChainState
from synfire.wire.condition import Condition
from synfire.wire.messages import Standing
from synfire.wire.wish import Wish, Wished

CONTENT = '[steps.a]\nmodel = "m"\ninputs = { x = "request.x" }\n[outputs]\ny = "a"\n'


def served(model: Any) -> ChainState:
    joined = join(chain_of(tomllib.loads(CONTENT), "c"), {"m": model.graph})
    return ChainState("c", b"{}", joined.document())


WAITING = ChainState("c", b"{}", missing=("m",))
FAILED = ChainState("c", b"{}", failure="step 'a': it does not fit")
GONE = ChainState("c")


def asked(**options: Any) -> Request:
    return Request("c", {"x": np.float32([[1, 2]])}, **options)


def plane_of(limits: Limits | None = None) -> tuple[DataPlane, AskedChains]:
    plane = DataPlane(limits)
    return plane, AskedChains(plane)


async def held(plane: DataPlane, count: int = 1, **options: Any) -> list[asyncio.Task[Any]]:
    """So many calls that wait."""
    calls = [asyncio.create_task(plane.infer(asked(**options))) for _ in range(count)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert not any(each.done() for each in calls)
    return calls


def test_calls_of_a_chain_that_waits_are_held_until_it_is_served(doing: Any) -> None:
    async def tell() -> None:
        plane, chains = plane_of()
        chains.follow(WAITING)
        (call,) = await held(plane)
        model = doing(lambda x: x * 2)
        plane.add("m", model)
        chains.follow(served(model))
        assert (await call).outputs["y"].tolist() == [[2, 4]]
        assert len(plane.coming) == 0

    asyncio.run(tell())


def test_a_call_is_held_no_longer_than_it_may_take_and_told_what_for() -> None:
    async def tell() -> None:
        plane, chains = plane_of()
        plane.recoveries = recoveries = ToldRecoveries(lambda count: ())
        recoveries.hear(Standing(wishes=(Wished("m", Wish("svg"), "failed", "there is no svg"),)))
        chains.follow(WAITING)
        with pytest.raises(TemporaryError, match=r"'m', which cannot be served: there is no svg; this call was held"):
            await plane.infer(asked(timeout_s=0.01))
        with pytest.raises(TemporaryError, match="'c' takes no calls yet: it waits for model 'm'"):
            plane.model("c")

    asyncio.run(tell())


def test_a_chain_that_waits_is_listed_with_what_for() -> None:
    async def tell() -> None:
        plane, chains = plane_of()
        chains.follow(WAITING)
        assert plane.names == ("c",)
        (told,) = await repository_index(plane, False)
        assert (told.name, told.state) == ("c", "UNAVAILABLE")
        assert told.reason == "it waits for model 'm', which nobody has asked for yet"
        assert await repository_index(plane, True) == []

    asyncio.run(tell())


def test_a_call_that_is_held_while_the_chain_goes_finds_no_such_model() -> None:
    async def tell() -> None:
        plane, chains = plane_of()
        chains.follow(WAITING)
        (call,) = await held(plane)
        chains.follow(GONE)
        with pytest.raises(UnknownName):
            await call
        assert plane.asked_chains == {}

    asyncio.run(tell())


def test_a_chain_that_does_not_fit_holds_no_call(doing: Any) -> None:
    async def tell() -> None:
        plane, chains = plane_of()
        chains.follow(WAITING)
        (call,) = await held(plane)
        chains.follow(FAILED)
        for each in (call, plane.infer(asked())):
            with pytest.raises(TemporaryError, match="step 'a': it does not fit"):
                await each

    asyncio.run(tell())


def test_as_many_calls_are_held_as_may_wait() -> None:
    async def tell() -> None:
        plane, chains = plane_of(Limits(queued=2))
        chains.follow(WAITING)
        calls = await held(plane, 2)
        with pytest.raises(Overloaded, match="queued=2"):
            await plane.infer(asked())
        for each in calls:
            each.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await held(plane, 2)

    asyncio.run(tell())


def test_a_gateway_that_shuts_down_refuses_the_calls_that_it_holds() -> None:
    async def tell() -> None:
        plane, chains = plane_of()
        chains.follow(WAITING)
        (call,) = await held(plane)
        await plane.drain()
        with pytest.raises(TemporaryError, match="takes no calls yet"):
            await call

    asyncio.run(tell())


def test_calls_that_are_under_way_end_well_when_the_chain_changes_or_goes(doing: Any) -> None:
    async def tell() -> None:
        plane, chains = plane_of()
        gate = asyncio.Event()
        model = doing(lambda x: x * 2, gate=gate)
        plane.add("m", model)
        chains.follow(served(model))
        call = asyncio.create_task(plane.infer(asked()))
        while not model.running:
            await asyncio.sleep(0)
        chains.follow(WAITING)
        later = (await held(plane))[0]
        chains.follow(GONE)
        with pytest.raises(UnknownName):
            await later
        gate.set()
        assert (await call).outputs["y"].tolist() == [[2, 4]]
        with pytest.raises(UnknownName):
            await plane.infer(asked())

    asyncio.run(tell())


def test_what_is_told_again_changes_nothing_and_what_is_told_no_more_goes(doing: Any) -> None:
    async def tell() -> None:
        plane, chains = plane_of()
        model = doing()
        plane.add("m", model)
        chains.follow(served(model))
        route = plane.model("c").route
        chains.follow(served(model))
        chains.keep(["c"])
        assert plane.model("c").route is route
        chains.keep([])
        with pytest.raises(UnknownName):
            plane.model("c")
        assert plane.model("m").route is model

    asyncio.run(tell())


def test_a_chain_whose_model_waits_for_workers_waits_with_it_and_leaves_the_gateway_ready(doing: Any) -> None:
    async def tell() -> None:
        plane, chains = plane_of()
        plane.recoveries = recoveries = ToldRecoveries(lambda count: ())
        model = doing()
        plane.add("m", model)
        chains.follow(served(model))
        recoveries.hear(Standing(conditions={"m": Condition("waiting", "1 of kind cpu", joining=True)}))
        condition = plane.condition(plane.model("c"))
        assert condition.joining
        assert condition.reason == "model 'm', which a step of it calls: 1 of kind cpu"
        assert plane.ready

    asyncio.run(tell())
