"""Canaries, A/B tests, shadows and pipelines on a real cluster, by `kubectl` alone, while all of them are called."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from deployed import Deployment, condition, resource
from under_load import MODEL, calling, known

from synfire.ops import Array
from synfire.testing.callers import until

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

OTHER = "scnn-digits"
"""A model that takes the same pictures, and answers otherwise."""


def reading(model: str) -> dict[str, Any]:
    """A pipeline `reader`, which asks the model and says which digit it has seen."""
    (name,) = known()[0]
    steps = {
        "read": {"model": model, "inputs": {name: f"request.{name}"}},
        "digit": {"function": "argmax", "inputs": {"scores": "read"}},
    }
    return resource("SynfirePipeline", "reader", steps=steps, outputs={"digit": "digit"})


def digit() -> dict[str, Array]:
    """What the pipeline is to say."""
    (scores,) = known()[1].values()
    return {"digit": scores.argmax(-1).astype(np.int64)}


def sides(deployment: Deployment) -> dict[str, dict[str, Any]]:
    """What the model's status tells of those who answer its calls, or get copies, by their names."""
    return {each["model"]: each for each in deployment.status("sfm", deployment.name).get("traffic", ())}


def share(deployment: Deployment, model: str, percent: int, **traffic: Any) -> None:
    """Have so many percent of the calls answered by another model, and wait until they are."""
    traffic["sides"] = [{"model": model, "percent": percent}]
    deployment.patch("sfm", deployment.name, traffic=traffic)
    until(lambda: f"{model}={percent}" in condition(deployment.kubectl, "sfm", deployment.name, "Traffic")["message"])
    deployment.kubectl("wait", "--for=condition=Traffic", f"sfm/{deployment.name}", "--timeout=60s")


def test_a_canary_an_ab_test_and_a_shadow_come_and_go_while_model_and_pipeline_are_called(
    deployment: Deployment,
) -> None:
    kubectl = deployment.kubectl
    kubectl.apply(
        resource("SynfireModel", "canary", source=MODEL, granularity="model"),
        resource("SynfireModel", "other", source=OTHER, granularity="model"),
        reading("digits"),
    )
    kubectl("wait", "--for=condition=Ready", "sfm,sfpl", "--all", "--timeout=200s")
    with (
        calling(deployment, "a canary, an A/B test, a shadow: the model") as callers,
        calling(deployment, "the same: a pipeline that asks the model", "reader", digit()) as piped,
    ):
        share(deployment, "canary", 10)
        callers.go_on(100)
        share(deployment, "canary", 50, shadow={"model": "other", "percent": 50})
        before = callers.answered
        callers.go_on(200)
        piped.go_on()
        until(lambda: sides(deployment).get("canary", {}).get("calls", 0) > (callers.answered - before) / 4)
        until(lambda: sides(deployment).get("other", {}).get("compared", 0) > 20)
        compares(sides(deployment))
        kubectl("delete", "sfm", "canary")
        until(lambda: condition(kubectl, "sfm", "digits", "Traffic")["reason"] == "NoModel")
        callers.go_on()
        deployment.patch("sfm", "digits", traffic=None)
        until(lambda: not sides(deployment))
    kubectl("delete", "sfm", "other")
    kubectl("delete", "sfpl", "reader")


def compares(told: dict[str, dict[str, Any]]) -> None:
    """The report tells the sides apart: who answered how often and how fast, and how far the shadow agreed."""
    for each in (told["digits"], told["canary"]):
        assert each["calls"] > 0
        assert each.get("errors", 0) == 0
        assert each["p95Milliseconds"] > 0
    shadow = told["other"]
    assert shadow["shadow"]
    assert shadow.get("same", 0) < shadow["compared"]
    for name, each in told.items():
        print(name, {key: value for key, value in each.items() if value and key != "model"})


def test_a_pipeline_is_called_while_it_changes_and_a_pod_that_it_needs_is_deleted(deployment: Deployment) -> None:
    kubectl = deployment.kubectl
    kubectl.apply(reading("digits"))
    kubectl("wait", "--for=condition=Ready", "sfpl/reader", "--timeout=60s")
    pod, _ = deployment.hosting()
    with calling(deployment, "a pipeline: kubectl delete pod", "reader", digit()):
        kubectl("delete", "pod", pod)
    until(deployment.relieved)
    kubectl.apply(resource("SynfireModel", "again", source=MODEL, granularity="model"))
    kubectl("wait", "--for=condition=Ready", "sfm/again", "--timeout=120s")
    with calling(deployment, "a pipeline that asks another model from now on", "reader", digit()) as callers:
        kubectl.apply(reading("again"))
        until(lambda: deployment.status("sfpl", "reader").get("models") == ["again"])
        kubectl("wait", "--for=condition=Ready", "sfpl/reader", "--timeout=60s")
        callers.go_on(100)
    kubectl("delete", "sfpl", "reader")
    kubectl("delete", "sfm", "again")
