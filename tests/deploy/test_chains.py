"""A worker of a chain's middle step is killed under load: nothing is lost, nothing is wrong, and nobody is told."""

from __future__ import annotations

import asyncio
import os
import signal
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from synfire.chains import join
from synfire.chains.fusing import fuse
from synfire.chains.reading import chain_of
from synfire.control.record import RecoveryLog
from synfire.deploy.listening import Listening
from synfire.deploy.planned import Planned
from synfire.deploy.serving import Serving, serving
from synfire.deploy.settings import Settings
from synfire.gateway.request import Request
from synfire.graph import Graph, Synapse, flatten, reference
from synfire.ops import Array, Clock, Kind, Signal
from synfire.ops.constant_current import ConstantCurrent
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.ops.mean_rate import MeanRate
from synfire.plan import Costs
from synfire.testing.graphs import plan_of
from synfire.zoo import Model

WIDTH, REQUESTS, AT_A_TIME = 16, 120, 8

CHAIN = """
[steps.first]
model = "first"
inputs = { x = "request.x" }
[steps.middle]
model = "middle"
inputs = { x = "first" }
[steps.last]
model = "last"
inputs = { x = "middle" }
[outputs]
y = "last"
"""


def layers(seed: int) -> Graph:
    """16 values → 16 neurons over 8 steps → their rates."""
    rng = np.random.default_rng(seed)
    weight = rng.normal(0.3, 1, (WIDTH, WIDTH)).astype(np.float32)
    names = ["x", "encode", "fc", "lif", "rate"]
    operators: dict[str, Any] = {
        "encode": ConstantCurrent(8),
        "fc": Linear(weight, np.zeros(WIDTH, np.float32)),
        "lif": LIF(),
        "rate": MeanRate(),
    }
    synapses = tuple(Synapse(a, b) for a, b in pairwise(names))
    return Graph(operators, synapses, {"x": Signal((WIDTH,), Kind.VALUE, Clock.REQUEST)}, {"rates": "rate"})


def planned(name: str, seed: int, worker: str) -> Planned:
    """A model on a worker of its own."""
    graph = flatten(layers(seed))
    return Planned(Model(name, graph, "test"), graph, Costs(), plan_of(graph, [graph.order()], [worker], 4, name))


MODELS = [planned(name, seed, f"w{seed}") for seed, name in enumerate(("first", "middle", "last"))]
JOINED = join(chain_of(tomllib.loads(CHAIN), "chain"), {each.model.name: each.graph for each in MODELS})


def right(x: Array) -> Array:
    """The chain's answer as the reference engine gives it, step by step."""
    for each in MODELS:
        x = reference.run(each.graph, {"x": x})["rates"][-1]
    return x


async def ask(running: Serving, number: int) -> bool:
    """Whether a request is answered right, which is one sample of its own."""
    x = np.random.default_rng(number).uniform(0, 1, (1, WIDTH)).astype(np.float32)
    answer = await running.plane.infer(Request("chain", {"x": x}))
    return answer.outputs["y"].tobytes() == right(x).tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("spares", [0, 1])
def test_the_worker_of_a_middle_step_is_killed_under_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spares: int
) -> None:
    monkeypatch.setenv("SYNFIRE_HOME", str(tmp_path))

    async def main() -> None:
        async with serving(MODELS, Listening(), settings=Settings(http="", spares=spares), chains=[JOINED]) as running:
            await running.deployment.until_warm()
            room, asked = asyncio.Semaphore(AT_A_TIME), 0

            async def one(number: int) -> bool:
                nonlocal asked
                async with room:
                    asked += 1
                    if asked in (REQUESTS // 3, 2 * REQUESTS // 3):
                        await running.deployment.until_warm()
                        (worker,) = running.deployment.routes["middle"].plan.workers
                        os.kill(running.deployment.workers[worker].process.pid, signal.SIGKILL)
                    return await ask(running, number)

            assert all(await asyncio.gather(*map(one, range(REQUESTS))))
            counts = running.plane.model("chain").route.counts  # type: ignore[attr-defined]
            assert [counts[step].outcomes["ok"] for step in ("first", "middle", "last")] == [REQUESTS] * 3
            assert running.plane.model("chain").statistics.outcomes["ok"] == REQUESTS
        records = RecoveryLog().recent(9)
        hit = [each for each in records if "middle" in {model.model for model in each.models}]
        assert len(hit) >= 2
        assert {each.outcome for each in hit} == {"recovered"}
        assert sum(each.requests_replayed for each in records) > 0

    asyncio.run(main())


SPIKING = """
[steps.look]
model = "eye"
inputs = { x = "request.x" }
[steps.think]
model = "middle"
inputs = { x = "look" }
[steps.speak]
model = "mouth"
inputs = { x = "think" }
[outputs]
spikes = "think"
y = "speak"
"""


def part(seed: int, first: bool, last: bool) -> Graph:
    """Neurons behind weights, and behind an encoder or ahead of a readout."""
    rng = np.random.default_rng(seed)
    weight = rng.normal(0.3, 1, (WIDTH, WIDTH)).astype(np.float32)
    operators: dict[str, Any] = {"encode": ConstantCurrent(8)} if first else {}
    operators |= {"fc": Linear(weight, np.zeros(WIDTH, np.float32)), "lif": LIF()} | (
        {"rate": MeanRate()} if last else {}
    )
    kind, clock = (Kind.VALUE, Clock.REQUEST) if first else (Kind.SPIKE, Clock.STEP)
    synapses = tuple(Synapse(a, b) for a, b in pairwise(["x", *operators]))
    return Graph(operators, synapses, {"x": Signal((WIDTH,), kind, clock)}, {"y": list(operators)[-1]})


@pytest.mark.slow
def test_steps_over_time_that_are_one_model_on_two_workers_give_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNFIRE_HOME", str(tmp_path))
    graphs = {"eye": part(0, True, False), "middle": part(1, False, False), "mouth": part(2, False, True)}
    apart = join(chain_of(tomllib.loads(SPIKING), "apart"), graphs)
    fused = fuse(apart, graphs)
    ((name, graph),) = fused.graphs.items()
    together = join(msgspec.structs.replace(fused.chain, name="together"), {**graphs, **fused.graphs})
    flat = flatten(graph)
    halves = plan_of(flat, [flat.order()[:4], flat.order()[4:]], ["w0", "w1"], 1, name)
    models = [
        *(Planned(Model(each, graph, "test"), graph, Costs(), plan_of(graph, [graph.order()], ["w0"], 4, each)) for each, graph in graphs.items()),
        Planned(Model(name, flat, "test"), flat, Costs(), halves),
    ]  # fmt: skip

    async def main() -> None:
        async with serving(models, Listening(), settings=Settings(http=""), chains=[apart, together]) as running:
            x = np.random.default_rng(9).uniform(0, 2, (3, WIDTH)).astype(np.float32)
            one, other = [await running.plane.infer(Request(each, {"x": x})) for each in ("apart", "together")]
            assert one.outputs["spikes"].shape == (3, 8, WIDTH)
            assert one.outputs["spikes"].any()
            assert {key: array.tobytes() for key, array in one.outputs.items()} == {
                key: array.tobytes() for key, array in other.outputs.items()
            }
            parts = [each async for each in running.plane.stream(Request("together", {"x": x}))]
            assert [(each.first_step, each.steps) for each in parts] == [(step, 1) for step in range(8)]
            assert parts[-1].outputs["y"].tobytes() == one.outputs["y"].tobytes()
            joined = np.concatenate([each.outputs["spikes"] for each in parts], 1)
            assert joined.tobytes() == one.outputs["spikes"].tobytes()
            assert running.plane.model(name).statistics.outcomes["ok"] == 2

    asyncio.run(main())


OVER_TIME = """
[steps.think]
model = "middle"
inputs = { x = "request.spikes" }
[steps.speak]
model = "mouth"
inputs = { x = "think" }
[outputs]
spikes = "think"
y = "speak"
"""


@pytest.mark.slow
@pytest.mark.parametrize("together", [False, True])
def test_a_session_in_pieces_gives_the_spikes_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: bool
) -> None:
    monkeypatch.setenv("SYNFIRE_HOME", str(tmp_path))
    graphs = {"middle": part(1, False, False), "mouth": part(2, False, True)}
    joined = join(chain_of(tomllib.loads(OVER_TIME), "chain"), graphs)
    if together:
        fused = fuse(joined, graphs)
        graphs = {name: flatten(graph) for name, graph in fused.graphs.items()}
        joined = join(fused.chain, graphs)
    models = [
        Planned(Model(name, graph, "test"), graph, Costs(), plan_of(graph, [graph.order()], ["w0"], 3, name))
        for name, graph in graphs.items()
    ]
    spikes = (np.random.default_rng(4).random((2, 12, WIDTH)) < 0.4).astype(np.uint8)

    async def main() -> None:
        async with serving(models, Listening(), settings=Settings(http=""), chains=[joined]) as running:
            whole = await running.plane.infer(Request("chain", {"spikes": spikes}))
            pieces = [
                await running.plane.infer(
                    Request("chain", {"spikes": spikes[:, 4 * n : 4 * n + 4]}, session="s", start=n == 0, end=n == 2)
                )
                for n in range(3)
            ]
            assert whole.outputs["spikes"].any()
            given = np.concatenate([each.outputs["spikes"] for each in pieces], 1)
            assert given.tobytes() == whole.outputs["spikes"].tobytes()
            assert pieces[-1].outputs["y"].tobytes() == whole.outputs["y"].tobytes()

    asyncio.run(main())
