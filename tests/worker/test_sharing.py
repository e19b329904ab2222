"""A stage that two models have in common is run by one program; stages that differ, or lie on hardware, by one each."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future

import msgspec
import numpy as np
import pytest

from synfire.deploy.hosting import hostings
from synfire.engines import ENGINES
from synfire.gateway.local import whole_plan
from synfire.graph import Graph, Synapse
from synfire.ops import Clock, Kind, Signal
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.wire.messages import Host
from synfire.worker.builder import Builder, Built


def net(seed: int = 0, name: str = "a") -> Graph:
    rng = np.random.default_rng(seed)
    return Graph(
        {name: Linear(rng.normal(size=(8, 4)), np.zeros(8)), "n": LIF()},
        (Synapse("x", name), Synapse(name, "n")),
        {"x": Signal((4,), Kind.SPIKE, Clock.STEP)},
        {"y": "n"},
    )


@pytest.fixture
def builder() -> Iterator[Builder]:
    made = Builder()
    yield made
    made.close()


def built(builder: Builder, graph: Graph, model: str, engine: str = "cpu") -> Built:
    (hosting,) = hostings(graph, whole_plan(graph, engine=engine), {"w0": ""})
    host: Host = msgspec.structs.replace(hosting.host, model=model)
    done: Future[Built] = Future()
    builder.build(host, hosting.graph, lambda future: done.set_result(future.result()))
    return done.result(60.0)


def test_models_that_have_a_stage_in_common_run_one_program(builder: Builder) -> None:
    first, second = built(builder, net(), "one"), built(builder, net(), "two")
    assert first.program is second.program is not None


@pytest.mark.parametrize("other", [net(seed=1), net(name="b")])
def test_another_content_or_another_name_is_another_program(builder: Builder, other: Graph) -> None:
    first = built(builder, net(), "one")
    assert built(builder, other, "two").program is not first.program


def test_another_engine_is_another_program(builder: Builder) -> None:
    first = built(builder, net(), "one")
    assert built(builder, net(), "two", engine="reference").program is not first.program


def test_a_program_goes_with_the_last_stage_that_it_runs(builder: Builder) -> None:
    first = built(builder, net(), "one")
    assert len(builder._programs) == 1
    del first
    built(builder, net(seed=2), "two")
    assert {key[1] for key in builder._programs} <= {net(seed=2).content_digest()}


def test_programs_on_hardware_are_not_shared(builder: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ENGINES["reference"], "device", "chip")
    first = built(builder, net(), "one", engine="reference")
    assert built(builder, net(), "two", engine="reference").program is not first.program
