"""Pools that have as many Pods as models need."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from world import World, resource, told  # beside this file, which is imported by its path

from synfire.kubernetes.controller.deployment import Hosted

MODEL = resource("SynfireModel", "m")
HOSTS = "synfire-hosts"


def pool(name: str = "hosts", **spec: Any) -> dict[str, Any]:
    return resource("SynfirePool", name, **{"autoscale": {"follows": "models", "least": 0, "most": 3}, **spec})


def count(here: World, name: str = HOSTS) -> int:
    replicas: int = here.server.get("statefulsets", name)["spec"]["replicas"]
    return replicas


async def needs(here: World, workers: int) -> None:
    """From now on models could use so many workers."""
    here.deployment.needs = workers
    await here.settle()


def test_it_grows_when_models_lack_workers_and_goes_to_none_when_they_need_none() -> None:
    async def story(here: World) -> None:
        here.server.put(pool())
        here.server.put(MODEL)
        await here.settle()
        assert count(here) == 0
        await needs(here, 2)
        assert count(here) == 2
        status = here.server.get("synfirepools", "hosts")["status"]
        assert (status["wanted"], status["hosting"]) == (2, 2)
        assert here.server.get("synfiremodels", "m")["status"]["phase"] == "Ready"
        here.deployment.needs = 0
        known = here.deployment.models["m"]
        here.deployment.models["m"] = replace(known, state="asleep", stages=())
        await here.settle()
        assert count(here) == 0
        assert here.server.get("synfiremodels", "m")["status"]["phase"] == "Asleep"

    told(story)


def test_it_has_no_more_than_it_may_and_says_what_is_short() -> None:
    async def story(here: World) -> None:
        here.server.put(pool(autoscale={"follows": "models", "most": 3}))
        here.server.put(MODEL)
        await here.settle()
        assert count(here) == 1
        assert here.condition("synfirepools", "hosts", "Scaled")["status"] == "True"
        await needs(here, 5)
        assert count(here) == 3
        scaled = here.condition("synfirepools", "hosts", "Scaled")
        assert (scaled["status"], scaled["reason"]) == ("False", "AtMost")
        assert "models could use 2 more cpu workers than the 3 that the pool may have" in scaled["message"]
        assert here.condition("synfirepools", "hosts")["reason"] == "AllJoined"

    told(story)


def test_no_pod_that_hosts_a_stage_is_taken_away() -> None:
    async def story(here: World) -> None:
        here.server.put(pool())
        here.server.put(MODEL)
        await here.settle()
        await needs(here, 3)
        known = here.deployment.models["m"]
        here.deployment.models["m"] = replace(known, stages=(Hosted("fc0", f"{HOSTS}-1"),))
        await needs(here, 0)
        assert count(here) == 2
        here.deployment.models["m"] = replace(known, stages=(Hosted("fc0", f"{HOSTS}-0"),))
        await here.settle()
        assert count(here) == 1

    told(story)


def test_it_stays_as_it_is_while_the_deployment_does_not_answer() -> None:
    async def story(here: World) -> None:
        here.server.put(pool())
        here.server.put(MODEL)
        await here.settle()
        await needs(here, 2)
        here.deployment.up = False
        await here.round()
        assert count(here) == 2

    told(story)


def test_what_a_spare_hosts_is_needed_too_and_what_a_pool_of_a_fixed_count_has_is_not() -> None:
    async def story(here: World) -> None:
        here.server.put(resource("SynfirePool", "spares", role="spares", count=1))
        here.server.put(resource("SynfirePool", "zone", count=1))
        here.server.put(pool())
        here.server.put(MODEL)
        await here.settle()
        assert [each.worker for each in here.deployment.models["m"].stages] == ["synfire-spares-0", "synfire-zone-0"]
        assert count(here) == 1

    told(story)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"role": "spares"}, "spares host none of their own; set count, or leave follows out"),
        ({"autoscale": {"least": 0, "most": 3}}, "no autoscaler goes below 1; write 1, or follows: models"),
    ],
)
def test_what_cannot_be_followed_is_told(spec: dict[str, Any], words: str) -> None:
    async def story(here: World) -> None:
        here.server.put(pool(**spec))
        await here.settle()
        found = here.condition("synfirepools", "hosts", "Accepted")
        assert (found["status"], found["reason"]) == ("False", "InvalidSpec")
        assert words in found["message"]

    told(story)
