"""A model that answers what it was asked: what a protocol costs by itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from synfire.gateway.call import Call, Part
from synfire.graph import Graph, Synapse
from synfire.ops import Clock, Signal
from synfire.ops.identity import Identity
from synfire.plan import Plan

ECHO = "echo"


def echo_graph(shape: tuple[int, ...] = (3, 32, 32)) -> Graph:
    """One FP32 input `x` on the request clock, handed to the output `y`. The default shape is a CIFAR image's."""
    return Graph({ECHO: Identity()}, (Synapse("x", ECHO),), {"x": Signal(shape, clock=Clock.REQUEST)}, {"y": ECHO})


class EchoRoute:
    """The echo graph's route without stages: its one part is the call's input."""

    def __init__(self) -> None:
        self.graph = echo_graph()
        self.plan = Plan(model=ECHO, granularity="model", stages=(), links=(), frame_steps=1)

    async def answer(self, call: Call) -> AsyncGenerator[Part, None]:
        for part in await self.whole(call):
            yield part

    async def whole(self, call: Call) -> list[Part]:
        """All parts of the call; see `synfire.gateway.model.Model.whole`."""
        return [Part({"y": call.inputs["x"]}, last=True)]
