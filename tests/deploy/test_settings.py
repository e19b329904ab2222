"""What a deployment is told, and what its workers are told of that."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from synfire.base.errors import UserError
from synfire.deploy.listening import Listening
from synfire.deploy.planned import Planned
from synfire.deploy.planning import plan_models, shared_cores
from synfire.deploy.roles.supervisor import Supervisor
from synfire.deploy.settings import Settings
from synfire.devices import DEVICES
from synfire.devices.cpu import Cpu
from synfire.plan import Costs, Hop, Plan
from synfire.plan.plan import Stage
from synfire.wire.messages import Spawn
from synfire.worker.settings import Settings as WorkerSettings
from synfire.zoo import find


def planned(*workers: str) -> Planned:
    model = find("svgg-digits")
    stages = tuple(Stage(name=each, operators=(), worker=each) for each in workers)
    plan = Plan(model=model.name, granularity="given", stages=stages, links=(), frame_steps=1)
    return Planned(model, model.graph, Costs(), plan)


@pytest.mark.parametrize(
    ("cores", "workers", "threads"),
    [(1, ("a",), 1), (2, ("a",), 1), (16, ("a",), 15), (16, ("a", "b"), 7), (4, ("a", "b", "c", "d"), 1)],
)
def test_cores_are_shared_evenly_but_for_the_gateways(
    cores: int, workers: tuple[str, ...], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = replace(DEVICES["cpu"].describe(), cores=cores)
    monkeypatch.setattr(Cpu, "describe", lambda _: here)
    assert shared_cores([planned(*workers)]) == threads


def test_workers_take_what_the_deployment_says_of_them() -> None:
    given = WorkerSettings.of(Settings(threads=3, twice="always", check_states=False).of_workers)
    assert (given.threads, given.twice, given.check_states) == (3, "always", False)


def test_the_first_workers_are_told_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Spawn] = []
    monkeypatch.setattr(Supervisor, "_spawn", lambda self, wanted: told.append(wanted))

    def enough(*given: object) -> None:
        raise UserError("far enough")

    monkeypatch.setattr(Supervisor, "_begin_role", enough)

    async def main() -> None:
        supervisor = Supervisor("d", tmp_path, Settings(threads=2, twice="always"), Listening(grpc_port=None))
        with pytest.raises(UserError, match="far enough"):
            await supervisor.start({"worker-0": "cpu"})

    asyncio.run(main())
    (only,) = told
    assert msgspec.json.decode(only.settings)["twice"] == "always"
    assert WorkerSettings.of(msgspec.json.decode(only.settings)).threads == 2


def test_a_worker_without_a_thread_is_refused() -> None:
    with pytest.raises(UserError, match="1 or more"):
        Settings(threads=0)


def test_plans_are_made_for_the_threads_that_workers_will_have(monkeypatch: pytest.MonkeyPatch) -> None:
    here = replace(DEVICES["cpu"].describe(), cores=4)
    monkeypatch.setattr(Cpu, "describe", lambda _: here)
    (found,) = plan_models([find("svgg-digits")], "model", 2, hop=Hop(), threads=None)
    assert found.costs.threads == 3
