"""All that the controller makes, or writes anew, is valid for the oldest release and the newest one."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from test_manifests import assert_valid, assert_valid_for_old  # beside this file, which is imported by its path
from world import NOW, resource

from synfire.kubernetes.controller import serving, settings
from synfire.kubernetes.controller.decide import FINALIZER, decide
from synfire.kubernetes.controller.decision import Action, Create, Replace, Tell
from synfire.kubernetes.controller.deployment import Deployed, Hosted, JoinedWorker, ServedModel
from synfire.kubernetes.controller.objects import key_of
from synfire.kubernetes.controller.observed import Document, Key, Observed, Offers, Settings
from synfire.kubernetes.manifests import Keys, surroundings
from synfire.kubernetes.manifests.writing import to_yaml
from synfire.testing.fake_kubernetes import pods_of

OLD = Offers("policy/v1beta1", "autoscaling/v2beta2", custom_metrics=True, resource_metrics=True)
NEW = Offers("policy/v1", "autoscaling/v2", custom_metrics=True, resource_metrics=True)
ROUNDS = 4

BEARS: list[Document] = [
    {"key": "dedicated", "value": "synfire", "effect": "NoSchedule"},
    {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30},
]
ASKED = (
    resource("SynfirePool", "hosts", count=2, autoscale={"most": 4}, cache="store"),
    resource("SynfirePool", "chips", device="darwin3", autoscale={"most": 4, "metric": "busy", "target": "500m"}),
    resource(
        "SynfirePool",
        "spares",
        role="spares",
        cpus=2,
        cpuRequest="100m",
        memory="2Gi",
        nodeSelector={"disk": "fast"},
        tolerations=BEARS,
        sharesNodes=True,
        image="other:1",
        priorityClassName="high",
    ),
    resource("SynfireCache", "store", models=["svgg-digits", "hf://o/r"], secret="hub", storageClassName="fast"),
    resource("SynfireCache", "kept", keep=True, accessMode="ReadWriteMany"),
    resource("SynfireModel", "svgg-digits", granularity="operator"),
    resource("SynfireModel", "wrong", device="abacus"),
)
CONFIG = {
    "data": {
        "gateways": "2",
        "cpuRequest": "250m",
        "memory": "3Gi",
        "log": "info",
        "nodeSelector": "{disk: fast}",
        "tolerations": "[{key: dedicated, operator: Exists}]",
        "priorityClassName": "serving",
    }
}


class Place:
    """A namespace in which everything that can be asked for is, and comes to pass."""

    def __init__(self, offers: Offers, found: Settings) -> None:
        self.settings = found
        self.made: dict[Key, Document] = {}
        self._offers = offers

    def observed(self) -> Observed:
        sets = [each for each in self.made.values() if each["kind"] == "StatefulSet"]
        pods = [each for found in sets for each in pods_of(found)]
        for each in pods:
            each["metadata"]["uid"] = each["metadata"]["name"]
        workers = {each["metadata"]["name"]: _joined(each) for each in pods if each["metadata"]["name"] != "synfire-0"}
        return Observed(
            "default",
            self.settings,
            NOW,
            tuple(map(_as_the_server_has_it, ASKED)),
            self.made,
            tuple(pods),
            deployed=_deployed(workers) if workers else None,
            offers=self._offers,
            has_keys=True,
        )

    def written(self) -> list[Document]:
        """What a few rounds make and write anew, and what they tell."""
        found: list[Document] = []
        for _ in range(ROUNDS):
            for action in decide(self.observed()):
                found += self._carried_out(action)
        return found

    def _carried_out(self, action: Action) -> list[Document]:
        match action:
            case Create(document) | Replace(document):
                metadata = {"uid": document["metadata"]["name"], **document["metadata"]}
                status = {"status": {"succeeded": 1}} if document["kind"] == "Job" else {}
                self.made[key_of(document)] = {**document, "metadata": metadata, **status}
                return [document]
            case Tell(document):
                return [document]
        return []


def _joined(pod: Document) -> JoinedWorker:
    return JoinedWorker(pod["metadata"]["name"], True, "http://10.0.0.1:8000")


def _deployed(workers: Mapping[str, JoinedWorker]) -> Deployed:
    stages = tuple(Hosted(f"fc{n}", each, (f"fc{n}",)) for n, each in enumerate(workers))
    served = ServedModel("svgg-digits", {}, "served", "", stages, 1, 1, "cpu")
    return Deployed({"svgg-digits": served}, workers=dict(workers))


def _as_the_server_has_it(found: Document) -> Document:
    metadata = {**found["metadata"], "uid": found["metadata"]["name"], "generation": 1, "finalizers": [FINALIZER]}
    return {**found, "metadata": metadata}


def everything(offers: Offers) -> list[Document]:
    """With settings of the controller alone, with those of a namespace above them, and a change of all that is there."""
    plain, (settled, wrong) = Settings("synfire:1", storage_bytes=2**30), settings.settled(Settings("i"), CONFIG)
    assert not wrong
    one, other = Place(offers, plain), Place(offers, settled)
    found = [*one.written(), *other.written()]
    for each in other.made.values():
        if each["kind"] == "StatefulSet":
            noted: dict[str, Any] = each["spec"]["template"]["metadata"]["annotations"]
            noted["kubectl.kubernetes.io/restartedAt"] = "2026-01-01T00:00:00Z"
    other.settings = replace(settled, image="synfire:2", log="debug")
    changed = other.written()
    assert {each["kind"] for each in changed} >= {"StatefulSet", "ConfigMap"}
    keys = surroundings.secret(serving.description(one.observed()), Keys("key", "t" * 64))
    written = [*found, *changed, keys]
    return [each for number, each in enumerate(written) if each not in written[:number]]


def test_what_the_controller_makes_is_of_all_kinds_that_it_may_make() -> None:
    kinds = {each["kind"] for each in everything(NEW)}
    assert kinds == {
        *("ConfigMap", "Endpoints", "Event", "HorizontalPodAutoscaler", "Job", "NetworkPolicy"),
        *("PersistentVolumeClaim", "PodDisruptionBudget", "Secret", "Service", "ServiceAccount", "StatefulSet"),
    }


def test_what_the_controller_makes_is_valid_for_the_newest_release() -> None:
    assert_valid(everything(NEW), kubernetes_validate.latest_version())


def test_what_the_controller_makes_is_valid_for_the_oldest_release(tmp_path: Path) -> None:
    assert_valid_for_old(to_yaml(everything(OLD)), tmp_path, "1.20")


def test_what_is_made_for_the_oldest_release_is_unknown_to_the_newest() -> None:
    (budget, *_) = (each for each in everything(OLD) if each["kind"] == "PodDisruptionBudget")
    with pytest.raises(kubernetes_validate.SchemaNotFoundError):
        assert_valid([budget], kubernetes_validate.latest_version())
