"""Which profile a deployment's models get by a user's words."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from synfire.base import paths
from synfire.base.errors import UnknownName, UserError
from synfire.deploy import profiles as deployed
from synfire.deploy.local import LocalDeployment, Settings
from synfire.deploy.planning import plan_models
from synfire.deploy.profiles import Listed, build_all, build_planned, choose, listed
from synfire.deploy.samples import forget_samples, keep_samples, samples_of
from synfire.engines import ENGINES
from synfire.engines.profiles import build as building
from synfire.engines.profiles.build import known
from synfire.engines.profiles.machine import Machine
from synfire.gateway.call import Call
from synfire.graph import Graph, flatten
from synfire.graph.passes import simplify
from synfire.plan import Hop
from synfire.testing.examples import collect, digits, image
from synfire.zoo import Model, load

MACHINE = Machine(workers=2, cores=2, free_bytes=10**10)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Listed]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SYNFIRE_CACHE", str(tmp_path_factory.mktemp("cache")))
        environment.setattr(deployed, "prices", Hop)
        return [listed(Model(name, load(f"{name}-digits"), "zoo"), MACHINE) for name in ("svgg", "srnn")]


def test_without_words_every_model_has_the_usual_profile(models: list[Listed]) -> None:
    assert [each.name for each in choose(models, ()).values()] == ["cpu-float32", "cpu-float32"]


def test_a_word_is_meant_for_every_model(models: list[Listed]) -> None:
    assert {name: each.name for name, each in choose(models, ["cpu-int8"]).items()} == {
        "svgg": "cpu-int8",
        "srnn": "cpu-int8",
    }


def test_a_word_with_a_model_is_meant_for_that_one(models: list[Listed]) -> None:
    found = choose(models, ["srnn=darwin3-int8"])
    assert (found["svgg"].name, found["srnn"].name) == ("cpu-float32", "darwin3-int8")


def test_an_id_is_meant_for_the_model_that_has_it(models: list[Listed]) -> None:
    id = choose(models, ["cpu-int8"])["srnn"].id
    found = choose(models, [id[:10]])
    assert (found["svgg"].name, found["srnn"].name) == ("cpu-float32", "cpu-int8")


def test_the_last_word_counts(models: list[Listed]) -> None:
    found = choose(models, ["cpu-int8", "svgg=latency"])
    assert (found["svgg"].name, found["srnn"].name) == ("cpu-float32", "cpu-int8")


def test_unknown_models_and_profiles_are_refused(models: list[Listed]) -> None:
    with pytest.raises(UnknownName, match=r"no model named 'net'; known: srnn, svgg"):
        choose(models, ["net=auto"])
    with pytest.raises(UnknownName, match=r"no profile of srnn named 'fp4'; known: auto"):
        choose(models, ["fp4"])
    with pytest.raises(UserError, match="use cpu"):
        choose(models, ["cuda-float32"])


def test_plans_follow_the_profiles(models: list[Listed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNFIRE_CACHE", str(tmp_path))
    profiles = choose(models, ["svgg=cpu-int8", "srnn=darwin3-int8"])
    svgg, srnn = plan_models([each.model for each in models], "auto", 2, profiles=profiles, hop=Hop())
    assert {svgg.plan.engine_of(stage) for stage in svgg.plan.stages} == {"cpu-int8"}
    assert {srnn.plan.engine_of(stage) for stage in srnn.plan.stages} == {"cpu", "darwin3"}


def test_building_tells_which_profile_and_how_far(
    models: list[Listed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNFIRE_CACHE", str(tmp_path))
    monkeypatch.setattr(building, "ENOUGH_S", 0.0)
    told: list[str] = []
    profile = choose(models, ())["svgg"]
    (built,) = build_all(models[0].graph, [profile], lambda which, what, share: told.append(which))
    assert built.profile == profile.id
    assert set(told) == {"building svgg cpu-float32"}
    told.clear()
    build_all(models[0].graph, [profile], lambda which, what, share: told.append(which))
    assert told == []


def test_variants_are_built_once_where_they_are_exact_and_each_where_they_are_not(
    models: list[Listed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNFIRE_CACHE", str(tmp_path))
    monkeypatch.setattr(building, "ENOUGH_S", 0.0)
    own = Model("own", tuned(models[0].model.graph), "a variant")
    planned = plan_models([*(each.model for each in models), own], "auto", 2, hop=Hop())
    built: list[str] = []
    build_planned(planned, {}, lambda which, what, share: built.append(which) if what == "built" else None)
    assert built == ["building svgg cpu-float32", "building srnn cpu-float32"]
    narrow = choose([*models, listed(own, MACHINE)], ["cpu-int8"])
    built.clear()
    build_planned(planned, narrow, lambda which, what, share: built.append(which) if what == "built" else None)
    assert built == ["building svgg cpu-int8", "building srnn cpu-int8", "building own cpu-int8"]


def test_what_is_served_is_planned_and_built_on_the_samples_that_were_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(paths.cache() / "numba"))  # what is compiled stays
    monkeypatch.setenv("SYNFIRE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SYNFIRE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(building, "ENOUGH_S", 0.0)
    monkeypatch.setattr(deployed, "prices", Hop)
    model = Model("svgg", load("svgg-digits"), "zoo")
    graph = simplify(flatten(model.graph))
    np.savez(tmp_path / "own.npz", input=np.ones((20, 1, 8, 8), np.float32))
    keep_samples(graph, tmp_path / "own.npz")
    here = plan_models([model], "auto", 2, hop=Hop())
    assert here[0].costs.density["input"] == 1.0
    build_planned(here, {})
    (profile,) = choose([listed(model, MACHINE)], ()).values()
    assert known(profile, samples_of(graph)) is not None
    forget_samples(graph)
    assert known(profile, samples_of(graph)) is None


def tuned(graph: Graph) -> Graph:
    """With another bias of its last synapse."""
    last = [name for name in graph.order() if "bias" in graph.operator(name).parameters()][-1]
    operator = graph.operator(last)
    other = type(operator)(
        **{**operator.parameters(), **operator.attributes(), "bias": operator.parameters()["bias"] + 1}
    )
    return replace(graph, operators={**graph.operators, last: other})


@pytest.mark.slow
def test_a_killed_workers_narrow_stages_answer_with_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, plan = digits()
    plan = msgspec.structs.replace(plan, engine="cpu-int8")
    program = ENGINES["cpu-int8"]().build(graph)

    async def main() -> None:
        async with LocalDeployment({"digits": (graph, plan)}, Settings(http="", spares=1)) as deployment:
            await deployment.until_warm()
            os.kill(deployment.workers[plan.workers[0]].process.pid, signal.SIGKILL)
            answer = await collect(deployment.routes["digits"], Call("1", "digits", image(3)))
            wanted = program.run(program.initial_state(2), image(3), graph.steps or 1)[1]["y"]
            assert answer["y"][-1].tobytes() == wanted[-1].tobytes()

    with tempfile.TemporaryDirectory(prefix="sf") as folder:
        monkeypatch.setenv("SYNFIRE_HOME", folder)
        asyncio.run(main())
