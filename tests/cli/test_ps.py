"""`synfire ps` tells how models are served, and what stands ready."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from synfire.base.processes import born
from synfire.cli import runs
from synfire.devices import Cores
from synfire.wire.condition import Condition
from synfire.wire.recovery import Substituted

UNLIKE = Substituted("m", "s1", "darwin3", "cpu", 0.985)


def record(condition: Condition, **more: Any) -> runs.Run:
    """A deployment of one model on two workers, which this process stands for."""
    plan = {"stages": [{"name": "s0", "worker": "worker-0"}, {"name": "s1", "worker": "worker-1"}]}
    me = (os.getpid(), born(os.getpid()))
    worker = runs.RunWorker("worker-0", me[0], "http://127.0.0.1:9", me[1], host=more.pop("host", ""))
    return runs.Run(
        id="1", url="http://127.0.0.1:8", grpc="", metrics="", pid=me[0], born=me[1], workers=(worker,),
        models=(runs.RunModel("m", "", plan, 3, condition),), **more,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("condition", "row", "line"),
    [
        (Condition("degraded", str(UNLIKE), (UNLIKE,)), "degraded 2", "1: m: m.s1 runs on cpu in place of darwin3, wh"),
        (Condition("stopped", "it is stopped to make room for model 'n'"), "stopped 0", "1: m: it is stopped to ma"),
        (Condition("waiting", "m.s0 waits for a worker"), "waiting 2", "1: m: m.s0 waits for a worker"),
    ],
)  # fmt: skip
def test_what_is_not_served_as_planned_is_told_with_the_reason(
    run: Callable, condition: Condition, row: str, line: str
) -> None:
    runs.register(record(condition))
    told = run("ps").out
    assert row in " ".join(told.split())
    assert line in told
    assert ("m.s0" in told.rpartition("worker-0")[2]) is (condition.status != "stopped")
    (model,) = run("ps", "--json").json["deployments"][0]["models"]
    assert (model["condition"]["status"], model["condition"]["reason"]) == (condition.status, condition.reason)
    assert [each["agreement"] for each in model["condition"]["substituted"]] == [0.985] * len(condition.substituted)


def test_a_deployment_in_order_has_no_complaint(run: Callable) -> None:
    runs.register(record(Condition(), spares=1, spares_wanted=1))
    told = run("ps").out
    assert "served" in told
    assert "1: " not in told
    assert "host" not in told.splitlines()[3]
    assert "cores" not in told


def test_missing_spares_and_the_hosts_of_workers_are_told(run: Callable) -> None:
    runs.register(record(Condition(), spares=1, spares_wanted=2, host="host-1"))
    told = run("ps").out
    assert "1: 1 of 2 spares ready to take over" in told
    assert "host-1" in told


def test_the_cores_that_are_free_of_a_workers_device_are_told(run: Callable) -> None:
    found = record(Condition())
    (worker,) = found.workers
    runs.register(
        msgspec.structs.replace(
            found, workers=(msgspec.structs.replace(worker, cores=Cores(575, 287), free_cores=Cores(561, 286)),)
        )
    )
    assert "KEPS" not in run("ps").out
    keps = msgspec.structs.replace(worker, cores=Cores(575, 287, 5900), free_cores=Cores(561, 286, 420))
    runs.register(msgspec.structs.replace(found, workers=(keps,)))
    told = run("ps").out
    assert "cores free" in told
    assert "561 of 575" in told
    assert "KEPS free" in told
    assert "420 of 5900" in told
    (worker,) = run("ps", "--json").json["deployments"][0]["workers"]
    assert worker["cores"] == {"total": 575, "large": 287, "keps": 5900}
    assert worker["free_cores"] == {"total": 561, "large": 286, "keps": 420}


def test_of_several_deployments_one_has_to_be_named_as_it_is_typed(run: Callable) -> None:
    for name in "12":
        runs.register(msgspec.structs.replace(record(Condition()), id=name))
    for verb, how in (("rebalance", "--id ID"), ("stop", "stop ID, or stop --all")):
        ran = run(verb)
        assert ran.code == 2
        assert f"2 deployments are running (1, 2); say which one is meant: {how}" in ran.err.replace("\n", " ")
