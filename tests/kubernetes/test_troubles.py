"""What Kubernetes does not make, or does not let the controller make, is told where its user looks, with its cure."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from world import World, applied, resource, told  # beside this file, which is imported by its path

from synfire.kubernetes.controller.decide import decide
from synfire.kubernetes.controller.observed import Document, Offers
from synfire.testing.fake_kubernetes import Asked, Refusal

POOL = resource("SynfirePool", "hosts", count=2)
MODEL = resource("SynfireModel", "svgg-digits", granularity="operator")
NO_CLASS = 'pods "synfire-hosts-0" is forbidden: no PriorityClass with name nobodys was found'
LATE, EARLY = "2099-01-01T00:00:00Z", "2020-01-01T00:00:00Z"


def unmade(owner: Document, words: str, at: str = LATE) -> Document:
    """What Kubernetes tells of a set, or a Job, whose Pods it cannot make."""
    metadata = owner["metadata"]
    about = {"kind": owner["kind"], "name": metadata["name"], "uid": metadata["uid"]}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.1", "namespace": "default"},
        "involvedObject": about,
        "reason": "FailedCreate",
        "message": words,
        "lastTimestamp": at,
    }


def refusing(verb: str, plural: str) -> Any:
    def refuse(asked: Asked) -> None:
        if (asked.verb, asked.resource) == (verb, plural):
            raise Refusal(403, "Forbidden", f'{plural} is forbidden: cannot {verb} resource "{plural}"')

    return refuse


async def rounds(here: World, **seen: Any) -> None:
    """Rounds in which no Pod is made, with something else seen, too."""
    for _ in range(4):
        observed = replace(await here.observed(), refusals=dict(here.hands.refusals), **seen)
        await here.hands.carry_out(decide(observed), lambda: True)


def test_pods_that_kubernetes_does_not_make_are_told_with_its_words_until_they_are_made() -> None:
    async def story(here: World) -> None:
        here.server.put(POOL)
        await rounds(here)
        assert here.condition("synfirepools", "hosts")["reason"] == "Joining"
        here.server.put(unmade(here.server.get("statefulsets", "synfire-hosts"), NO_CLASS))
        await rounds(here)
        ready = here.condition("synfirepools", "hosts")
        assert (ready["status"], ready["reason"]) == ("False", "FailedCreate")
        assert f"{NO_CLASS}; mend what it names, such as a quota, a policy or a PriorityClass" in ready["message"]
        events = {(each["involvedObject"]["name"], each["reason"]) for each in here.server.all("events")}
        assert ("hosts", "FailedCreate") in events
        await here.settle()
        assert here.condition("synfirepools", "hosts")["reason"] == "AllJoined"

    told(story)


@pytest.mark.parametrize(("at", "of"), [(EARLY, "synfire-hosts"), (LATE, "synfire")], ids=["over", "another"])
def test_what_was_said_before_the_last_pod_was_made_or_of_another_object_is_not_told(at: str, of: str) -> None:
    async def story(here: World) -> None:
        await applied(here, POOL)
        here.server.put(resource("SynfirePool", "hosts", count=3))
        await here.round()
        here.server.put(unmade(here.server.get("statefulsets", of), NO_CLASS, at))
        await rounds(here)
        assert here.condition("synfirepools", "hosts")["reason"] == "Joining"

    told(story)


def test_a_serving_pod_that_kubernetes_does_not_make_is_told_of_models() -> None:
    async def story(here: World) -> None:
        for each in (POOL, MODEL):
            here.server.put(each)
        await rounds(here)
        here.server.put(unmade(here.server.get("statefulsets", "synfire"), "exceeded quota: small"))
        await rounds(here)
        ready = here.condition("synfiremodels", "svgg-digits")
        assert ready["reason"] == "FailedCreate"
        assert "the serving Pod does not run: Kubernetes makes no Pod for StatefulSet synfire" in ready["message"]
        assert "exceeded quota: small" in ready["message"]

    told(story)


def test_a_job_whose_pods_are_not_made_is_told_of_its_cache() -> None:
    async def story(here: World) -> None:
        here.server.put(resource("SynfireCache", "store", models=["svgg-digits"]))
        await rounds(here)
        (job,) = here.server.all("jobs")
        here.server.put(unmade(job, "exceeded quota: small"))
        await rounds(here)
        assert here.condition("synfirecaches", "store")["reason"] == "FailedCreate"
        assert "exceeded quota: small" in here.condition("synfirecaches", "store")["message"]

    told(story)


@pytest.mark.parametrize("plural", ["networkpolicies", "configmaps", "serviceaccounts", "services"])
def test_a_right_that_lacks_for_what_all_share_is_told_of_models_before_they_are_served(plural: str) -> None:
    async def story(here: World) -> None:
        here.server.refuse = refusing("create", plural)
        for each in (POOL, MODEL):
            here.server.put(each)
        await rounds(here)
        ready = here.condition("synfiremodels", "svgg-digits")
        assert ready["reason"] == "MissingPermission"
        assert f'cannot create resource "{plural}"' in ready["message"]
        assert "grant the controller's ServiceAccount that right" in ready["message"]

    told(story)


def test_a_right_that_lacks_for_services_of_stages_is_told_of_their_model_which_is_served() -> None:
    async def story(here: World) -> None:
        await applied(here, POOL)
        here.server.refuse = refusing("create", "services")
        here.server.put(MODEL)
        await rounds(here)
        assert here.condition("synfiremodels", "svgg-digits")["status"] == "True"
        services = here.condition("synfiremodels", "svgg-digits", "Services")
        assert (services["status"], services["reason"]) == ("False", "MissingPermission")
        here.server.refuse = lambda asked: None
        await here.settle()
        kinds = [each["type"] for each in here.server.get("synfiremodels", "svgg-digits")["status"]["conditions"]]
        assert kinds == ["Accepted", "Ready"]

    told(story)


@pytest.mark.parametrize(
    ("plural", "type_"), [("poddisruptionbudgets", "Ready"), ("horizontalpodautoscalers", "Scaled")]
)
def test_a_right_that_lacks_for_an_object_of_a_pool_is_told_of_the_pool(plural: str, type_: str) -> None:
    async def story(here: World) -> None:
        here.server.refuse = refusing("create", plural)
        here.server.put(resource("SynfirePool", "hosts", count=2, autoscale={"most": 4}))
        await rounds(here, offers=Offers(resource_metrics=True))
        found = here.condition("synfirepools", "hosts", type_)
        assert (found["status"], found["reason"]) == ("False", "MissingPermission")
        assert f'cannot create resource "{plural}"' in found["message"]

    told(story)


def test_a_volume_that_nobody_makes_is_told_of_its_cache_as_well_as_of_the_pods_that_wait_for_it() -> None:
    async def story(here: World) -> None:
        cache = resource("SynfireCache", "store", claim="nobodys")
        await applied(here, cache, resource("SynfirePool", "hosts", cache="store"))
        assert here.condition("synfirecaches", "store")["status"] == "True"
        pod = here.server.get("pods", "synfire-hosts-0")
        words = 'persistentvolumeclaim "nobodys" not found'
        unplaced = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words}
        here.server.put({**pod, "status": {"conditions": [unplaced]}})
        await rounds(here)
        for plural, name in (("synfirecaches", "store"), ("synfirepools", "hosts")):
            ready = here.condition(plural, name)
            assert (ready["reason"], words in ready["message"]) == ("NoVolume", True)

    told(story)
