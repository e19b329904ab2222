"""A data plane of models that are plain functions, and chains of them."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

import numpy as np
import pytest

from synfire.chains import join
from synfire.chains.operators import ChainStep
from synfire.chains.reading import chain_of
from synfire.gateway.call import Call, Part
from synfire.gateway.chains import ChainRoute
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.limits import Limits
from synfire.gateway.request import Answer, Request
from synfire.graph import Graph, Synapse
from synfire.ops import Clock, Kind, Signal
from synfire.ops.language_model import LanguageModel, Piece, as_array, read_request
from synfire.plan import Plan

NUMBERS = Signal((2,), Kind.VALUE, Clock.REQUEST)

Work = Callable[[np.ndarray[Any, Any]], Any]


class Doing:
    """A model of one input `x` and one output `y`, both two numbers: what `work` makes of them. It counts its calls, and waits for
    `gate` in each, where there is one."""

    def __init__(
        self,
        work: Work = lambda x: x,
        gate: asyncio.Event | None = None,
        signal: Signal = NUMBERS,
        batched: bool = True,
        takes: Signal = NUMBERS,
    ) -> None:
        step = ChainStep("fake", 1, (signal.shape, str(signal.kind), str(signal.clock)), batched=batched)
        self.graph = Graph({"do": step}, (Synapse("x", "do"),), {"x": takes}, {"y": "do"})
        self.plan = Plan(model="fake", granularity="model", stages=(), links=(), frame_steps=1)
        self.calls: list[Call] = []
        self.running = self.most = self.cancelled = 0
        self.ready = True
        self.gate = gate
        self._work = work

    async def answer(self, call: Call) -> AsyncGenerator[Part, None]:
        self.calls.append(call)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(0)
            if self.gate is not None:
                await self.gate.wait()
            made = self._work(call.inputs["x"])
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        yield Part({"y": made}, last=True)


class Forming(Doing):
    """One whose answer forms over three steps: a third, two thirds, and all of its input."""

    def __init__(self) -> None:
        super().__init__(signal=NUMBERS.with_(clock=Clock.RUNNING))

    async def answer(self, call: Call) -> AsyncGenerator[Part, None]:
        self.calls.append(call)
        for step in range(3):
            yield Part({"y": (call.inputs["x"] * np.float32((step + 1) / 3))[None]}, step, 1, step == 2)


class Speaking(Doing):
    """A language model that says its prompt again, in upper case, word by word; to a text to embed its length."""

    def __init__(self) -> None:
        super().__init__()
        model = LanguageModel("gguf", (("bard.gguf", "0" * 64),), 1, 64)
        request = {"request": Signal((), Kind.BYTES, Clock.REQUEST)}
        self.graph = Graph(
            {"m": model}, (Synapse("request", "m"),), request, {"text": "m"}, {"language": {"name": "bard"}}
        )

    async def answer(self, call: Call) -> AsyncGenerator[Part, None]:
        self.calls.append(call)
        asked = read_request(call.inputs["request"])
        vector = np.float32([len(asked.prompt)]).tobytes() if asked.task == "embed" else b""
        pieces = (
            [Piece(word) for word in str(asked.prompt).upper().split(" ")] if not vector else [Piece(vector=vector)]
        )
        for step, piece in enumerate(pieces[: asked.max_tokens]):
            yield Part({"text": as_array(piece, 1, 1)}, step, 1, piece is pieces[: asked.max_tokens][-1])


class Desk:
    """A data plane with models, and one chain `c` that calls them."""

    def __init__(self, models: Mapping[str, Any], chain: str, limits: Limits | None = None) -> None:
        self.plane = DataPlane(limits)
        for name, route in models.items():
            self.plane.add(name, route)
        joined = join(chain_of(tomllib.loads(chain), "c"), {name: route.graph for name, route in models.items()})
        self.route = ChainRoute("c", joined, self.plane)
        self.plane.add("c", self.route)

    async def infer(self, **fields: Any) -> dict[str, Any]:
        """The answer's outputs as lists, for inputs by name; `options` are the request's."""
        return {name: array.tolist() for name, array in (await self.plane.infer(request(**fields))).outputs.items()}

    async def stream(self, **fields: Any) -> list[Answer]:
        return [answer async for answer in self.plane.stream(request(**fields))]

    def counts(self, step: str) -> dict[str, int]:
        """How often the step ended in which way, but for those in which it never did."""
        return {name: count for name, count in self.route.counts[step].outcomes.items() if count}


def request(options: Mapping[str, Any] | None = None, **inputs: Any) -> Request:
    """A request to the chain; numbers in float32, texts as bytes."""
    arrays = {
        name: np.array([each.encode() for each in value], object) if isinstance(value[0], str) else np.float32(value)
        for name, value in inputs.items()
    }
    return Request("c", arrays, **(options or {}))


@pytest.fixture(scope="session")
def desk() -> type[Desk]:
    return Desk


@pytest.fixture(scope="session")
def doing() -> type[Doing]:
    return Doing


@pytest.fixture(scope="session")
def forming() -> type[Forming]:
    return Forming


@pytest.fixture(scope="session")
def speaking() -> type[Speaking]:
    return Speaking
