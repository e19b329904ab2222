"""Canaries, A/B tests, shadows and pipelines on a real cluster, by `kubectl` alone, while all of them are called."""

from __future__ import annotations

import io
import tarfile
from base64 import b64encode
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deployed import SERVING, Deployment, condition, resource
from under_load import MODEL, calling, known

from synfire.cli.infer import run_here
from synfire.formats.bundle import write_bundle
from synfire.graph import Graph, flatten
from synfire.ops import Array
from synfire.ops.linear import Linear
from synfire.testing.callers import until
from synfire.zoo import load

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

OTHER = "scnn-digits"
"""A model that takes the same pictures, and answers otherwise."""

OPERATOR = "head"
"""Its last synaptic layer, of which there is another version."""

IMPORT = """
import base64, io, sys, tarfile, tempfile
from synfire.cli import main
folder = tempfile.mkdtemp()
tarfile.open(fileobj=io.BytesIO(base64.b64decode(sys.stdin.read()))).extractall(folder)
main(["import", f"{folder}/tuned"])
"""
"""Has the store of the Pod that it runs in know the bundle that it reads as `tuned`."""


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


def tuned() -> Graph:
    """The model with other weights in the one operator."""
    graph = flatten(load(MODEL))
    operator = graph.operator(OPERATOR)
    assert isinstance(operator, Linear)
    return replace(graph, operators={**graph.operators, OPERATOR: Linear(-operator.weight, operator.bias)})


def bundled(graph: Graph, folder: Path) -> str:
    """The graph as a bundle `tuned`, in letters."""
    write_bundle(graph, folder / "tuned")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(folder / "tuned", "tuned")
    return b64encode(packed.getvalue()).decode()


def apart(deployment: Deployment, model: str) -> set[str]:
    """The operators that the deployment's model and another one have on different Pods."""
    pods = [
        {
            operator: stage["worker"]
            for stage in deployment.status("sfm", name)["stages"]
            for operator in stage["operators"]
        }
        for name in (deployment.name, model)
    ]
    return {operator for operator in pods[0] if pods[0][operator] != pods[1][operator]}


def test_another_version_of_one_operator_is_tried_in_the_pods_of_all_others_and_its_own_is_deleted(
    deployment: Deployment, tmp_path: Path
) -> None:
    kubectl, variant = deployment.kubectl, tuned()
    kubectl("exec", "--stdin", SERVING, "--", "python3", "-c", IMPORT, given=bundled(variant, tmp_path))
    kubectl.apply(resource("SynfireModel", "tuned", variantOf=deployment.name))
    kubectl("wait", "--for=condition=Ready", "sfm/tuned", "--timeout=120s")
    assert apart(deployment, "tuned") == {OPERATOR}
    other = run_here(variant, known()[0])
    try:
        with calling(deployment, "one operator: a shadow") as callers:
            shadow = {"model": "tuned", "percent": 100}
            deployment.patch("sfm", deployment.name, traffic={"shadow": shadow, "operators": ["features.0"]})
            until(
                lambda: (
                    "and not in features.0 alone" in condition(kubectl, "sfm", deployment.name, "Traffic")["message"]
                )
            )
            deployment.patch("sfm", deployment.name, traffic={"operators": [OPERATOR]})
            kubectl("wait", "--for=condition=Traffic", f"sfm/{deployment.name}", "--timeout=60s")
            until(lambda: sides(deployment).get("tuned", {}).get("compared", 0) > 20)
            callers.go_on(50)
        assert sides(deployment)["tuned"].get("same", 0) == 0
        deployment.patch("sfm", deployment.name, traffic={"shadow": None})
        share(deployment, "tuned", 100, operators=[OPERATOR])
        with calling(deployment, "one operator: all calls, its Pod deleted", expected=other) as callers:
            until(
                lambda: f"tuned=100 at {OPERATOR}" in condition(kubectl, "sfm", deployment.name, "Traffic")["message"]
            )
            told = deployment.status("sfm", "tuned")["stages"]
            kubectl("delete", "pod", next(each["worker"] for each in told if OPERATOR in each["operators"]))
            callers.go_on(100)
    finally:
        with calling(deployment, "one operator: the other version is taken back", "tuned", other):
            deployment.patch("sfm", deployment.name, traffic=None)
            until(lambda: not sides(deployment))
        kubectl("delete", "sfm", "tuned")
    with calling(deployment, "without it"):
        pass
