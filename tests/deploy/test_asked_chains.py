"""Chains that somebody wants by HTTP: checked before anything changes, waiting for models, following them, and kept over a controller's death."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from synfire.base.errors import UnknownName, UserError
from synfire.chains import read_joined
from synfire.chains.operators import ChainStep
from synfire.deploy.chains import Chains, called_graph
from synfire.deploy.ledger import Wanted
from synfire.graph import Graph, Synapse
from synfire.ops import Clock, Kind, Signal
from synfire.plan import Plan
from synfire.wire.chain import ChainState
from synfire.wire.messages import CHANGED, Chaining
from synfire.wire.traffic import rule_of
from synfire.wire.wish import Wish


def model(takes: int = 2, gives: int = 2) -> Graph:
    """Numbers `x` in, numbers `y` out."""
    step = ChainStep("fake", 1, ((gives,), str(Kind.VALUE), str(Clock.REQUEST)))
    inputs = {"x": Signal((takes,), Kind.VALUE, Clock.REQUEST)}
    return Graph({"do": step}, (Synapse("x", "do"),), inputs, {"y": "do"})


def calling(*models: str, brings: dict[str, str] | None = None, description: str = "") -> dict[str, Any]:
    """A chain that calls these, one after the other."""
    sources = ["request.x", *(f"s{number}" for number in range(len(models) - 1))]
    steps = {f"s{n}": {"model": each, "inputs": {"x": sources[n]}} for n, each in enumerate(models)}
    whole = {"steps": steps, "outputs": {"y": f"s{len(models) - 1}"}, "description": description}
    return whole | ({"models": brings} if brings else {})


class Deployment:
    """Models that come and go as a test says; `told` is what gateways were told last of each chain."""

    def __init__(self, **models: Graph) -> None:
        self.models = dict(models)
        self.told: dict[str, ChainState] = {}
        self.wishes: dict[str, Wish] = {}
        self.taken: set[str] = set()
        self.writes = 0
        self.chains = Chains(self, {})

    async def graph(self, called: str, without: str = "") -> Graph | None:
        return self.models.get(called) if called != without else None

    def source(self, name: str) -> str | None:
        return self.wishes[name].source if name in self.wishes else "its own" if name in self.models else None

    def is_wished(self, name: str) -> bool:
        return name in self.wishes

    def check_free(self, chain: str) -> None:
        if chain in self.taken:
            raise UserError(f"{chain!r} is a model of this deployment; ask for the chain by another name")

    def bring(self, name: str, wish: Wish | None) -> None:
        if wish is None:
            del self.wishes[name]
        else:
            self.wishes[name] = wish

    async def tell(self, state: ChainState) -> None:
        if state.content:
            self.told[state.name] = state
        else:
            del self.told[state.name]

    async def write(self) -> None:
        self.writes += 1

    def note(self) -> None:
        self.writes += 1

    async def put(self, name: str, content: dict[str, Any]) -> bool:
        return await self.chains.obey(Chaining(name, json.dumps(content).encode())) == CHANGED

    async def drop(self, name: str) -> None:
        assert await self.chains.obey(Chaining(name)) == CHANGED

    async def comes(self, name: str, graph: Graph) -> None:
        self.models[name] = graph
        await self.chains.look(name)

    async def goes(self, name: str) -> None:
        await self.chains.look(name, name)
        del self.models[name]

    @property
    def waiting(self) -> dict[str, tuple[str, ...]]:
        """What each chain waits for that cannot be called."""
        return {name: each.missing for name, each in self.told.items() if not each.joined}


def story(tell: Callable[[Deployment], Awaitable[None]], **models: Graph) -> None:
    async def main() -> None:
        await tell(Deployment(**models))

    asyncio.run(main())


def test_a_chain_of_models_that_are_there_is_told_to_gateways_and_asking_twice_is_asking_once() -> None:
    async def tell(here: Deployment) -> None:
        assert await here.put("c", calling("net"))
        assert read_joined(here.told["c"].joined).order == ("s0",)
        assert (here.writes, here.chains.told[0].reason) == (1, "")
        assert not await here.put("c", dict(reversed(calling("net").items())))
        assert await here.put("c", calling("net", description="another one"))
        assert here.writes == 2

    story(tell, net=model())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (calling("net", "wide"), "step 's1' (model 'wide'), input 'x', from s0"),
        ({**calling("net"), "outputs": {"y": "s7"}}, "s7"),
        ({**calling("net"), "colour": "red"}, "colour"),
        (calling("c"), "chain 'c' calls itself"),
        (calling("net", brings={"net": "other"}), ""),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(content: dict[str, Any], words: str) -> None:
    async def tell(here: Deployment) -> None:
        here.wishes["net"] = Wish("mine")
        await here.put("c", calling("net"))
        before = here.chains.kept
        with pytest.raises(UserError) as refused:
            await here.put("c", content)
        assert (words or "model 'net' is mine already, and the chain brings other") in str(refused.value)
        assert here.chains.kept == before
        assert here.wishes == {"net": Wish("mine")}

    story(tell, net=model(), wide=model(5))


def test_a_name_that_something_else_has_is_refused() -> None:
    async def tell(here: Deployment) -> None:
        here.taken.add("net")
        with pytest.raises(UserError, match="ask for the chain by another name"):
            await here.put("net", calling("other"))
        assert here.told == {}

    story(tell)


def test_a_chain_waits_for_its_models_and_again_when_one_goes() -> None:
    async def tell(here: Deployment) -> None:
        await here.put("c", calling("first", "second"))
        assert here.waiting == {"c": ("first", "second")}
        assert "first" in here.chains.told[0].reason
        await here.comes("second", model())
        assert here.waiting == {"c": ("first",)}
        await here.comes("first", model())
        assert here.waiting == {}
        await here.goes("second")
        assert here.waiting == {"c": ("second",)}

    story(tell)


def test_a_model_that_comes_and_does_not_fit_is_told_and_its_successor_mends_it() -> None:
    async def tell(here: Deployment) -> None:
        await here.put("c", calling("net", "after"))
        await here.comes("after", model(5))
        assert "step 's1' (model 'after')" in here.told["c"].failure
        assert here.chains.told[0].reason == here.told["c"].failure
        await here.comes("after", model())
        assert (here.told["c"].failure, here.waiting) == ("", {})

    story(tell, net=model())


def test_chains_call_each_other_follow_each_other_and_never_in_a_circle() -> None:
    async def tell(here: Deployment) -> None:
        await here.put("outer", calling("inner"))
        assert here.waiting == {"outer": ("inner",)}
        await here.put("inner", calling("net"))
        assert here.waiting == {}
        with pytest.raises(UserError, match=r"the chains inner, outer call each other"):
            await here.put("inner", calling("outer"))
        await here.goes("net")
        assert here.waiting == {"outer": ("inner",), "inner": ("net",)}
        await here.comes("net", model(3, 3))
        assert read_joined(here.told["outer"].joined).inputs["x"].shape == (3,)
        await here.drop("inner")
        assert here.waiting == {"outer": ("inner",)}

    story(tell, net=model())


def test_what_is_wanted_no_longer_is_told_and_then_unknown() -> None:
    async def tell(here: Deployment) -> None:
        await here.put("c", calling("net"))
        await here.drop("c")
        assert (here.told, here.chains.kept) == ({}, {})
        with pytest.raises(UnknownName, match="chain that is wanted"):
            await here.chains.obey(Chaining("c"))

    story(tell, net=model())


def test_a_chain_brings_its_models_and_the_last_one_that_brings_a_model_takes_it_along() -> None:
    async def tell(here: Deployment) -> None:
        await here.put("c", calling("eye", brings={"eye": "svgg"}))
        await here.put("d", calling("eye", brings={"eye": "svgg"}))
        assert here.wishes == {"eye": Wish("svgg")}
        await here.drop("c")
        assert here.wishes == {"eye": Wish("svgg")}
        await here.put("d", calling("eye", brings={"eye": "sgnn"}))
        assert here.wishes == {"eye": Wish("sgnn")}
        await here.drop("d")
        assert here.wishes == {}

    story(tell)


def test_a_model_that_somebody_asked_for_by_itself_stays_when_a_chain_that_brings_it_goes() -> None:
    async def tell(here: Deployment) -> None:
        here.wishes["mine"] = Wish("svgg")
        await here.put("c", calling("mine", "eye", brings={"mine": "svgg", "eye": "svgg"}))
        here.chains.disown("eye")
        await here.drop("c")
        assert set(here.wishes) == {"mine", "eye"}

    story(tell)


def test_a_brought_model_that_somebody_has_ended_is_brought_again_by_asking_again() -> None:
    async def tell(here: Deployment) -> None:
        content = calling("eye", brings={"eye": "svgg"})
        await here.put("c", content)
        here.chains.disown("eye")
        del here.wishes["eye"]
        assert await here.put("c", content)
        assert here.wishes == {"eye": Wish("svgg")}

    story(tell)


def test_a_controller_after_this_one_tells_the_same_and_sees_what_is_otherwise() -> None:
    async def tell(here: Deployment) -> None:
        await here.put("c", calling("net"))
        await here.put("d", calling("eye", brings={"eye": "svgg"}))
        after = Deployment(eye=model())
        after.wishes = here.wishes
        await after.chains.begin(here.chains.kept)
        assert after.told == here.told
        await after.chains.look()
        assert after.waiting == {"c": ("net",)}
        await after.drop("d")
        assert after.wishes == {}

    story(tell, net=model())


def test_a_step_calls_versions_and_names_that_answer_by_a_rule() -> None:
    one, two = model(1), model(2)
    plan = Plan(model="net", granularity="model", stages=(), links=(), frame_steps=1)
    wanted = [
        Wanted(name=name, version=version, source="here", digest="d", plan=plan)
        for name, version in (("net@1", "1"), ("net@10", "10"), ("copied#1", "1"), ("copied#2", "1"), ("late", "1"))
    ]
    graphs = {"net@1": one, "net@10": two, "copied#1": one, "copied#2": one}
    rules = {"prod": rule_of("prod", ["net@1=90", "net@10=10"])}

    def found(called: str) -> Graph | None:
        return called_graph(called, rules, wanted, graphs)

    assert [found(each) for each in ("net", "net@1", "net@10", "net@3")] == [two, one, two, None]
    assert [found(each) for each in ("prod", "copied", "copied:latest", "late", "none")] == [one, one, one, None, None]
