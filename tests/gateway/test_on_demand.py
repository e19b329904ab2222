"""Callers of models that are not there wait for them; what is used is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synfire.base.errors import DeadlineExceeded, PermanentError, TemporaryError, UnknownName
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.echo import EchoRoute
from synfire.gateway.limits import Limits
from synfire.gateway.on_demand import OnDemand
from synfire.gateway.request import Request
from synfire.hub.pull import pull
from synfire.hub.source import Into
from synfire.store import ModelName, ModelStore
from synfire.testing.clock import FakeClock
from synfire.testing.weights import language_model
from synfire.wire.messages import Unwanted, Uses, Want


class Scene:
    """A data plane whose controller is a list of what it was told; two models are in the store."""

    def __init__(self, folder: Path, limits: Limits | None = None) -> None:
        file = folder / "shake.gguf"
        file.write_bytes(language_model())
        store = ModelStore(folder / "home")
        for name in ("shake:latest", "org/bard:q8"):
            pull(str(file), Into(store), ModelName.parse(name))
        self.told: list[Any] = []
        self.clock = FakeClock()
        self.plane = DataPlane(limits)
        self.plane.on_demand = self.on_demand = OnDemand(store, limits, self.clock)
        self.on_demand.tell = self.told.append

    def serve(self, name: str) -> None:
        """The controller has loaded it."""
        self.on_demand.joins(name)
        self.plane.add(name, EchoRoute())
        self.on_demand.arrived(name)

    async def asked(self, count: int = 1) -> None:
        while len([each for each in self.told if isinstance(each, Want)]) < count:
            await asyncio.sleep(0)

    @property
    def wants(self) -> list[str]:
        return [each.model for each in self.told if isinstance(each, Want)]


def run(folder: Path, story: Callable[[Scene], Coroutine[Any, Any, None]], limits: Limits | None = None) -> None:
    async def main() -> None:
        async with asyncio.timeout(30):
            await story(Scene(folder, limits))

    asyncio.run(main())


def echo(model: str) -> Request:
    ((name, signal),) = EchoRoute().graph.inputs.items()
    return Request(model, {name: np.ones((1, *signal.shape), np.float32)})


def test_a_call_waits_until_its_model_is_loaded_and_two_ask_for_it_once(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        calls = [asyncio.create_task(scene.plane.called(name)) for name in ("shake", "shake:latest")]
        await scene.asked()
        await asyncio.sleep(0)
        assert not any(each.done() for each in calls)
        scene.serve("shake")
        assert [(await each).name for each in calls] == ["shake", "shake"]
        assert scene.wants == ["shake"]
        assert (await scene.plane.called("shake:latest")).name == "shake"
        assert scene.wants == ["shake"]

    run(tmp_path, story)


def test_a_name_with_an_organisation_is_one(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        call = asyncio.create_task(scene.plane.called("org/bard:q8"))
        await scene.asked()
        scene.serve("org/bard:q8")
        assert (await call).name == "org/bard:q8"

    run(tmp_path, story)


def test_a_model_that_is_nowhere_is_answered_with_those_that_are(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        for name in ("nothing", "no name", "shake:q9"):
            with pytest.raises(UnknownName, match=r"known: org/bard:q8, shake"):
                await scene.plane.called(name)
        assert scene.told == []

    run(tmp_path, story)


def test_what_stands_against_a_model_is_told_to_who_waits_and_it_may_be_asked_for_again(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        call = asyncio.create_task(scene.plane.called("shake"))
        await scene.asked()
        scene.on_demand.refused(Unwanted("shake", "PermanentError", "it takes too much; use less"))
        with pytest.raises(PermanentError, match="use less"):
            await call
        again = asyncio.create_task(scene.plane.called("shake"))
        await scene.asked(2)
        scene.serve("shake")
        assert (await again).name == "shake"

    run(tmp_path, story)


def test_so_many_wait_and_the_next_one_is_told_to_come_back(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        call = asyncio.create_task(scene.plane.called("shake"))
        await scene.asked()
        with pytest.raises(TemporaryError, match=r"1 calls wait .* retry later") as refused:
            await scene.plane.called("org/bard:q8")
        assert refused.value.retry_after_s == 3.0
        call.cancel()

    run(tmp_path, story, Limits(queued=1, retry_after_s=3.0))


def test_a_model_that_takes_too_long_is_told(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        with pytest.raises(DeadlineExceeded, match=r"'shake' was not loaded within 0.01 s .* call again"):
            await scene.plane.called("shake")

    run(tmp_path, story, Limits(load_timeout_s=0.01))


def test_a_call_under_way_keeps_its_model_and_the_end_of_it_is_told(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        scene.serve("shake")
        assert scene.on_demand.is_idle("shake")
        answers = scene.plane.stream(echo("shake"))
        await anext(answers)
        assert not scene.on_demand.is_idle("shake")
        await answers.aclose()
        assert scene.on_demand.is_idle("shake")
        assert not scene.on_demand.is_idle("shake", 5.0)
        scene.clock.advance(5.0)
        assert scene.on_demand.is_idle("shake", 5.0)
        scene.plane.keep(scene.plane.model("shake"), 7.0)
        scene.clock.advance(2.0)
        scene.on_demand.attend()
        (uses,) = [each for each in scene.told if isinstance(each, Uses)]
        assert [(each.model, each.busy, each.idle_s, each.keep_s) for each in uses.models] == [
            ("shake", False, 2.0, 7.0)
        ]

    run(tmp_path, story)


def test_a_model_that_somebody_waits_for_is_not_idle(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        call = asyncio.create_task(scene.plane.called("shake"))
        await scene.asked()
        assert not scene.on_demand.is_idle("shake")
        call.cancel()

    run(tmp_path, story)


def test_another_controller_is_told_who_waits(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        call = asyncio.create_task(scene.plane.called("shake"))
        await scene.asked()
        scene.on_demand.attend()
        assert scene.wants == ["shake", "shake"]
        call.cancel()

    run(tmp_path, story)
