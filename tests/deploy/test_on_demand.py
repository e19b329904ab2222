"""Models of the store are loaded when they are called, and unloaded when nobody does: with hands that only write down."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

import pytest

from synfire.base.errors import PermanentError, UnknownName, UserError
from synfire.deploy.ledger import Wanted
from synfire.deploy.on_demand import Found, OnDemand
from synfire.deploy.settings import StoreSettings
from synfire.plan import Plan
from synfire.testing.clock import FakeClock
from synfire.wire.messages import Residents, Unwanted, Use, Uses, Want

SIZES = {"a": 10, "b": 10, "c": 15, "huge": 1000}


class Written:
    """Hands that write down what they do. Models in `busy` are not given up."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.refused: list[Unwanted] = []
        self.told = Residents()
        self.busy: set[str] = set()
        self.broken: set[str] = set()
        self.news = asyncio.Event()

    def find(self, model: str) -> Found:
        if model not in SIZES:
            raise UnknownName.among("stored model", model, SIZES)
        plan = Plan(model=model, granularity="model", stages=(), links=(), frame_steps=1)
        return Found(Wanted(name=model, version="1", source="", digest="", plan=plan, on_demand=True), SIZES[model])

    async def load(self, wanted: Wanted) -> None:
        if wanted.name in self.broken:
            raise PermanentError(f"{wanted.name} cannot be loaded; get it again")
        self._do(f"load {wanted.name}")

    async def unload(self, model: str, idle_s: float) -> bool:
        if model not in self.busy:
            self._do(f"unload {model}")
        return model not in self.busy

    def refuse(self, refusal: Unwanted) -> None:
        self.refused.append(refusal)
        self.news.set()

    def reside(self, residents: Residents) -> None:
        self.told = residents
        self.news.set()

    def free_bytes(self) -> int:
        return 100

    def _do(self, what: str) -> None:
        self.done.append(what)
        self.news.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until that is so."""
        while not holds():
            await self.news.wait()
            self.news.clear()


Story = Callable[[OnDemand, Written, FakeClock], Awaitable[None]]


def tell(story: Story, **settings: object) -> None:
    async def main() -> None:
        hands, clock = Written(), FakeClock()
        on_demand = OnDemand(StoreSettings(**settings), hands, clock)  # type: ignore[arg-type]
        running = asyncio.create_task(on_demand.run())
        try:
            async with asyncio.timeout(30):
                await story(on_demand, hands, clock)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(main())


def test_a_model_is_loaded_once_however_many_want_it() -> None:
    async def story(on_demand: OnDemand, hands: Written, clock: FakeClock) -> None:
        on_demand.hear("g0", Want("a"))
        on_demand.hear("g1", Want("a"))
        await hands.until(lambda: len(hands.told.models) == 1)
        on_demand.hear("g1", Want("a"))
        await on_demand.load("a")
        assert hands.done == ["load a"]
        assert [each.bytes for each in hands.told.models] == [10]

    tell(story)


def test_a_model_is_unloaded_when_its_time_is_over() -> None:
    async def story(on_demand: OnDemand, hands: Written, clock: FakeClock) -> None:
        on_demand.hear("g", Want("a"))
        await hands.until(lambda: hands.done == ["load a"])
        clock.advance(299.0)
        on_demand.hear("g", Uses((Use("a", False, 0.0),)))
        await hands.until(lambda: bool(hands.told.models))
        clock.advance(299.0)
        on_demand.hear("g", Uses((Use("a", False, 299.0),)))
        await asyncio.sleep(0)
        assert hands.done == ["load a"]
        clock.advance(1.0)
        on_demand.hear("g", Uses((Use("a", False, 300.0),)))
        await hands.until(lambda: hands.done == ["load a", "unload a"])

    tell(story, keep_alive_s=300.0)


def test_the_last_call_says_how_long_a_model_stays() -> None:
    async def story(on_demand: OnDemand, hands: Written, clock: FakeClock) -> None:
        await on_demand.load("a")
        on_demand.hear("g", Uses((Use("a", False, 0.0, -1.0),)))
        assert on_demand.residents["a"].keep_s == math.inf
        clock.advance(1e6)
        on_demand.hear("g", Uses((Use("a", False, 0.0, 0.0),)))
        await hands.until(lambda: hands.done == ["load a", "unload a"])

    tell(story)


class Slow(Written):
    """Hands whose loads wait until they are let go, one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[str] = []
        self.gates = {name: asyncio.Event() for name in SIZES}

    async def load(self, wanted: Wanted) -> None:
        self.begun.append(wanted.name)
        self.news.set()
        await self.gates[wanted.name].wait()
        await super().load(wanted)


def beside(story: Callable[[OnDemand, Slow], Awaitable[None]], at_a_time: int = 2, **settings: object) -> None:
    async def main() -> None:
        hands = Slow()
        on_demand = OnDemand(StoreSettings(**settings), hands, FakeClock(), at_a_time=at_a_time)  # type: ignore[arg-type]
        running = asyncio.create_task(on_demand.run())
        try:
            async with asyncio.timeout(30):
                await story(on_demand, hands)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(main())


def test_models_are_loaded_beside_each_other_as_many_as_may_be() -> None:
    async def story(on_demand: OnDemand, hands: Slow) -> None:
        for model in ("a", "b", "c"):
            on_demand.hear("g", Want(model))
        await hands.until(lambda: len(hands.begun) == 2)
        assert (sorted(hands.begun), hands.done) == (["a", "b"], [])
        hands.gates["b"].set()
        await hands.until(lambda: "c" in hands.begun)
        assert hands.done == ["load b"]
        for gate in hands.gates.values():
            gate.set()
        await hands.until(lambda: len(hands.told.models) == 3)

    beside(story, memory_bytes=100)


def test_a_model_that_is_being_loaded_has_its_room_already() -> None:
    async def story(on_demand: OnDemand, hands: Slow) -> None:
        on_demand.hear("g", Want("a"))
        await hands.until(lambda: hands.begun == ["a"])
        on_demand.hear("g", Want("b"))
        hands.gates["b"].set()
        for _ in range(50):
            await asyncio.sleep(0)
        assert hands.begun == ["a"]
        hands.gates["a"].set()
        await hands.until(lambda: "load b" in hands.done)
        assert hands.done == ["load a", "unload a", "load b"]

    beside(story, memory_bytes=15)


def test_one_model_may_take_so_much_and_no_more() -> None:
    async def story(on_demand: OnDemand, hands: Written, clock: FakeClock) -> None:
        on_demand.hear("g", Want("c"))
        await hands.until(lambda: bool(hands.refused))
        assert "takes 15 B to run, and a model of the store may take 12 B" in hands.refused[0].text
        assert "--memory-model" in hands.refused[0].text
        on_demand.hear("g", Want("a"))
        await hands.until(lambda: hands.done == ["load a"])

    tell(story, memory_bytes=100, model_bytes=12)


def test_the_model_that_was_called_the_longest_ago_makes_room() -> None:
    async def story(on_demand: OnDemand, hands: Written, clock: FakeClock) -> None:
        for model in ("a", "b"):
            await on_demand.load(model)
            clock.advance(1.0)
        on_demand.hear("g", Uses((Use("a", False, 0.0), Use("b", False, 1.0))))
        await on_demand.load("c")
        assert hands.done == ["load a", "load b", "unload b", "load c"]

    tell(story, memory_bytes=25)


def test_a_call_waits_for_a_busy_model_and_not_in_vain() -> None:
    async def story(on_demand: OnDemand, hands: Written, clock: FakeClock) -> None:
        await on_demand.load("a")
        on_demand.hear("g", Uses((Use("a", True, 0.0),)))
        waiting = asyncio.create_task(on_demand.load("c"))
        hands.news.clear()
        await hands.until(lambda: bool(hands.told.models))
        assert not waiting.done()
        on_demand.hear("g", Uses((Use("a", False, 0.0),)))
        await waiting
        assert hands.done == ["load a", "unload a", "load c"]

    tell(story, memory_bytes=20)


def test_a_gateway_that_is_gone_keeps_no_model_busy() -> None:
    async def story(on_demand: OnDemand, hands: Written, clock: FakeClock) -> None:
        await on_demand.load("a")
        on_demand.hear("g", Uses((Use("a", True, 0.0),)))
        assert on_demand.residents["a"].busy
        on_demand.hear("g", Uses())
        assert not on_demand.residents["a"].busy

    tell(story)


def test_a_model_that_a_gateway_does_not_give_up_stays_and_is_asked_for_again() -> None:
    async def story(on_demand: OnDemand, hands: Written, clock: FakeClock) -> None:
        await on_demand.load("a")
        hands.busy.add("a")
        on_demand.hear("g", Uses((Use("a", False, 0.0, 0.0),)))
        await hands.until(lambda: on_demand.residents["a"].until_s > clock.now_s())
        hands.busy.clear()
        clock.advance(1.0)
        on_demand.hear("g", Uses())
        await hands.until(lambda: hands.done == ["load a", "unload a"])
        assert not on_demand.residents

    tell(story)


def test_what_does_not_fit_is_refused_with_numbers_and_nothing_is_unloaded_for_it() -> None:
    async def story(on_demand: OnDemand, hands: Written, clock: FakeClock) -> None:
        await on_demand.load("a")
        with pytest.raises(PermanentError, match=r"'huge' takes 1 kB to run, and all models may take 100 B"):
            await on_demand.load("huge")
        assert hands.done == ["load a"]
        assert [each.model for each in hands.refused] == ["huge"]

    tell(story)


def test_an_unknown_or_broken_model_is_refused_and_the_next_one_is_loaded() -> None:
    async def story(on_demand: OnDemand, hands: Written, clock: FakeClock) -> None:
        hands.broken.add("b")
        on_demand.hear("g", Want("nothing"))
        on_demand.hear("g", Want("b"))
        on_demand.hear("g", Want("a"))
        await hands.until(lambda: hands.done == ["load a"])
        assert [(each.model, each.kind) for each in hands.refused] == [
            ("nothing", "UnknownName"),
            ("b", "PermanentError"),
        ]
        hands.broken.clear()
        await on_demand.load("b")

    tell(story)


def test_a_controller_that_takes_over_goes_on_with_what_is_there() -> None:
    async def story(on_demand: OnDemand, hands: Written, clock: FakeClock) -> None:
        on_demand.holds({"a": 10})
        await on_demand.load("a")
        assert hands.done == []
        clock.advance(300.0)
        on_demand.hear("g", Uses())
        await hands.until(lambda: hands.done == ["unload a"])

    tell(story)


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(UserError, match="keep_alive_s is -1"):
        StoreSettings(keep_alive_s=-1)
    with pytest.raises(UserError, match="parallel is 0"):
        StoreSettings(parallel=0)
