"""What is rendered is valid for every supported release, and hangs together."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from synfire.base.errors import UserError
from synfire.kubernetes.manifests import Description, Keys, documents, files, gateway, workers
from synfire.kubernetes.manifests.description import release
from synfire.kubernetes.manifests.parts import quantity
from synfire.kubernetes.manifests.writing import fresh_keys, keys_of, to_yaml, write

KEYS = Keys("key", "t" * 64)
PLAIN = Description(("svgg-digits",), "synfire:0.1.0")
DESCRIPTIONS = {
    "plain": PLAIN,
    "chips": Description(
        ("svgg-mnist", "a=b@2"), "r.example/synfire:1", name="chips", device="darwin3", workers=3, spares=4
    ),
    "gpu": Description(
        ("m",), "i", device="cuda", storage_bytes=5 * 2**30, priority=1000, namespace="models", gateways=2
    ),
    "bare": Description(
        ("m",), "i", secret="mine", keyed=False, spares=0, shares_nodes=True, options=("--twice", "always")
    ),
}
OLD_PYTHON = os.environ.get("SYNFIRE_KUBERNETES_PYTHON", "")

every_description = pytest.mark.parametrize("description", DESCRIPTIONS.values(), ids=DESCRIPTIONS)


def keys_for(description: Description) -> Keys | None:
    return None if description.secret else KEYS


def rendered(description: Description, version: tuple[int, int] = (1, 37)) -> list[dict[str, Any]]:
    """The documents as a reader of the YAML finds them."""
    return list(yaml.safe_load_all(to_yaml(documents(description, keys_for(description), version))))


def of_kind(found: list[dict[str, Any]], *kinds: str) -> list[dict[str, Any]]:
    return [each for each in found if each["kind"] in kinds]


def pods(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each["spec"]["template"] for each in of_kind(found, "StatefulSet", "DaemonSet")]


def assert_valid(found: list[dict[str, Any]], *versions: str) -> None:
    for version in versions:
        for each in found:
            kubernetes_validate.validate(each, version, strict=True)


def assert_valid_for_old(text: str, folder: Path, *versions: str) -> None:
    """Releases that the newest package no longer knows are looked up by an older one, in an environment of its own."""
    if not OLD_PYTHON:
        pytest.skip(
            "SYNFIRE_KUBERNETES_PYTHON names no Python with kubernetes-validate 1.24, which knows 1.20 (`make test` does)"
        )
    (folder / "all.yaml").write_text(text)
    for version in versions:
        command = [OLD_PYTHON, "-m", "kubernetes_validate", "--strict", "-k", version, str(folder / "all.yaml")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@every_description
def test_documents_are_valid_for_the_newest_release_and_those_before(description: Description) -> None:
    assert_valid(rendered(description), "1.25", kubernetes_validate.latest_version())


@every_description
def test_documents_are_valid_for_the_oldest_release(description: Description, tmp_path: Path) -> None:
    assert_valid_for_old(to_yaml(documents(description, keys_for(description), (1, 20))), tmp_path, "1.20")
    assert_valid_for_old(to_yaml(documents(description, keys_for(description), (1, 21))), tmp_path, "1.21", "1.24")


def test_what_is_not_valid_is_found() -> None:
    (account,) = of_kind(rendered(PLAIN), "ServiceAccount")
    with pytest.raises(kubernetes_validate.ValidationError, match="mountToken"):
        assert_valid([{**account, "mountToken": True}], "1.37")


@every_description
def test_overlays_are_built_by_kustomize_and_valid(description: Description, tmp_path: Path) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl, which has kustomize, is not installed")
    write(tmp_path, files(description, keys_for(description)))
    overlays = sorted(each.name for each in (tmp_path / "overlays").iterdir())
    assert {"kubernetes-1.20", "kubernetes-1.21", "one-node"} <= set(overlays)
    kinds = sorted(each["kind"] for each in rendered(description) if each["kind"] != "DaemonSet")
    for name in overlays:
        command = ["kubectl", "kustomize", str(tmp_path / "overlays" / name)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        found = list(yaml.safe_load_all(done.stdout))
        assert sorted(each["kind"] for each in found if each["kind"] != "DaemonSet") == kinds
        assert len(of_kind(found, "DaemonSet")) == (name == "device-plugin")
        if name == "kubernetes-1.20":
            assert of_kind(found, "PodDisruptionBudget")[0]["apiVersion"] == "policy/v1beta1"
        else:
            assert_valid(found, "1.25", kubernetes_validate.latest_version())
        if name == "one-node":
            assert not any("affinity" in each["spec"] for each in pods(found))
            assert {each["spec"]["containers"][0]["resources"]["requests"]["cpu"] for each in pods(found)} == {"100m"}
        if OLD_PYTHON and name == "kubernetes-1.20":
            assert_valid_for_old(done.stdout, tmp_path, "1.20")


@every_description
def test_a_folder_holds_what_its_kustomizations_name(description: Description) -> None:
    found = files(description, keys_for(description))
    for path, (kustomization, *_) in found.items():
        if not path.endswith("kustomization.yaml"):
            continue
        for each in kustomization["resources"]:
            beside = os.path.normpath(f"{os.path.dirname(path)}/{each}")
            assert beside in found or f"{beside}/kustomization.yaml" in found, (path, each)
    named = {f"base/{each}" for each in found["base/kustomization.yaml"][0]["resources"]}
    assert named | {"base/kustomization.yaml"} == {each for each in found if each.startswith("base/")}


@every_description
def test_every_container_can_gain_nothing(description: Description) -> None:
    for pod in (each["spec"] for each in pods(rendered(description))):
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        (container,) = pod["containers"]
        root = container["name"] == "device-plugin"
        assert (pod["securityContext"].get("runAsNonRoot", False), pod["securityContext"]["runAsUser"] == 0) == (
            not root,
            root,
        )
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


@every_description
def test_a_pod_that_drains_is_told_to_from_its_first_moment_on(description: Description) -> None:
    for pod in (each["spec"] for each in pods(rendered(description))):
        drains = pod["containers"][0]["name"] != "device-plugin"
        assert pod.get("shareProcessNamespace", False) == drains


@every_description
def test_every_name_that_a_pod_uses_is_there(description: Description) -> None:
    found = rendered(description)
    there = {(each["kind"], each["metadata"]["name"]) for each in found} | {("Secret", "mine")}
    for pod in (each["spec"] for each in pods(found)):
        (container,) = pod["containers"]
        assert ("ServiceAccount", pod["serviceAccountName"]) in there
        assert ("PriorityClass", pod["priorityClassName"]) in there if "priorityClassName" in pod else True
        assert set(references(pod)) <= there
        volumes = {each["name"] for each in pod["volumes"]} | claimed(found, container)
        assert {each["name"] for each in container["volumeMounts"]} == volumes
        variables = {each["name"] for each in container["env"]}
        assert set(re.findall(r"\$\((\w+)\)", " ".join(container["command"]))) <= variables
        ports = {each["name"] for each in container.get("ports", ())}
        probes = [container[each] for each in container if each.endswith("Probe")]
        assert {each["httpGet"]["port"] for each in probes} <= ports


def references(value: Any) -> Iterator[tuple[str, str]]:
    """Every Secret and ConfigMap that is named somewhere in there."""
    if isinstance(value, list):
        for each in value:
            yield from references(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            if key in ("secretKeyRef", "configMapRef"):
                yield ("Secret" if key == "secretKeyRef" else "ConfigMap"), each["name"]
            elif key == "secretName":
                yield "Secret", each
            else:
                yield from references(each)


def claimed(found: list[dict[str, Any]], container: dict[str, Any]) -> set[str]:
    templates = [
        claim["metadata"]["name"]
        for each in of_kind(found, "StatefulSet")
        if each["spec"]["template"]["spec"]["containers"] == [container]
        for claim in each["spec"].get("volumeClaimTemplates", ())
    ]
    return set(templates)


@every_description
def test_every_selector_finds_the_pods_that_it_is_meant_for(description: Description) -> None:
    found = rendered(description)
    marked = [each["metadata"]["labels"] for each in pods(found)]

    def chosen(wanted: dict[str, str]) -> set[str]:
        return {each["app.kubernetes.io/component"] for each in marked if wanted.items() <= each.items()}

    services = {each["metadata"]["name"]: each["spec"] for each in of_kind(found, "Service")}
    name = description.name
    assert {each: chosen(spec["selector"]) for each, spec in services.items()} == {
        name: {"gateway"},
        f"{name}-join": {"gateway"},
        f"{name}-workers": {"worker"},
    }
    for each in of_kind(found, "StatefulSet", "DaemonSet"):
        assert len(chosen(each["spec"]["selector"]["matchLabels"])) == 1
    for each in of_kind(found, "StatefulSet"):
        assert services[each["spec"]["serviceName"]]["clusterIP"] == "None"
    (budget,) = of_kind(found, "PodDisruptionBudget")
    assert chosen(budget["spec"]["selector"]["matchLabels"]) == {"worker"}
    assert [chosen(each["spec"]["podSelector"]["matchLabels"]) for each in of_kind(found, "NetworkPolicy")][1:] == [
        {"gateway"},
        {"worker"},
    ]


def test_names_are_looked_up_wherever_a_cluster_answers_for_them() -> None:
    for policy in of_kind(rendered(PLAIN), "NetworkPolicy")[1:]:
        anywhere = [each["ports"] for each in policy["spec"]["egress"] if "to" not in each]
        assert {(each["port"], each["protocol"]) for ports in anywhere for each in ports} == {
            *((53, "UDP"), (53, "TCP")),
            *((5353, "UDP"), (5353, "TCP")),
        }


def test_a_worker_shares_its_node_with_no_other_and_not_with_the_gateway() -> None:
    def apart(description: Description) -> dict[str, Any]:
        _, worker, *_ = pods(rendered(description))
        found: dict[str, Any] = worker["spec"]["affinity"]["podAntiAffinity"]
        return found

    (term,) = apart(DESCRIPTIONS["chips"])["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    (expression,) = term["labelSelector"]["matchExpressions"]
    assert (expression["operator"], expression["values"]) == ("In", ["gateway", "worker"])  # and not the device plugin
    assert list(apart(DESCRIPTIONS["bare"])) == ["preferredDuringSchedulingIgnoredDuringExecution"]


def test_every_worker_is_sure_of_a_device() -> None:
    gateway, worker, plugin = (each["spec"]["containers"][0] for each in pods(rendered(DESCRIPTIONS["chips"])))
    assert gateway["resources"]["limits"]["zj.com/darwin3"] == gateway["resources"]["requests"]["zj.com/darwin3"] == "3"
    assert worker["resources"]["limits"]["zj.com/darwin3"] == "1"
    assert plugin["command"][:4] == ["synfire", "device-plugin", "--resource", "zj.com/darwin3"]
    assert "cpu" not in gateway["resources"]["limits"]


def test_a_worker_is_told_what_it_may_use_of_its_node() -> None:
    described = replace(DESCRIPTIONS["bare"], cpus=3, memory_bytes=2**31)
    for command in (workers.command(described), gateway.command(described)):
        assert command[command.index("--threads") + 1] == "3"
        assert command[command.index("--memory") + 1] == str(2**31)


def test_a_changed_setting_begins_pods_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    def told() -> set[str]:
        found = {each["metadata"]["annotations"]["synfire/settings"] for each in pods(rendered(PLAIN))}
        assert len(found) == 1
        return found

    before, changed = told(), gateway.settings(PLAIN) | {"data": {"SYNFIRE_LOG": "debug"}}
    monkeypatch.setattr(gateway, "settings", lambda description: changed)
    assert told().isdisjoint(before)


def test_rendering_again_changes_no_key_and_only_the_owner_reads_them(tmp_path: Path) -> None:
    write(tmp_path, files(PLAIN, keys_of(tmp_path)))
    first = keys_of(tmp_path)
    write(tmp_path, files(PLAIN, first))
    assert keys_of(tmp_path) == first
    assert len(first.join_token) >= 32
    assert fresh_keys() != first
    secret = tmp_path / "base" / "secret.yaml"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    secret.write_text("kind: Secret\n")
    with pytest.raises(UserError, match="mend it, or delete it for new keys"):
        keys_of(tmp_path)


def test_bytes_are_written_as_kubernetes_reads_them() -> None:
    assert [quantity(each) for each in (2**30, 1536 * 2**20, 1000, 2**10)] == ["1Gi", "1536Mi", "1000", "1Ki"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"name": "Synfire"}, "small letters, digits and hyphens"),
        ({"name": "s" * 41}, "give up to 40"),
        ({"namespace": "-x"}, "small letters, digits and hyphens"),
        ({"image": "a b"}, "write it like registry.example"),
        ({"device": "tpu"}, "use one of cpu, darwin3, cuda"),
        ({"resource": "chips", "device": "darwin3"}, "write DOMAIN/NAME"),
        ({"resource": "zj.com/darwin3"}, "name one with --device"),
    ],
)
def test_a_description_of_what_cannot_be_is_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Description(**{"models": ("m",), "image": "i", **changed})


def test_releases_are_read_as_people_write_them() -> None:
    assert [release(each) for each in ("1.20", "v1.31.2", "1.37")] == [(1, 20), (1, 31), (1, 37)]
    for wrong in ("1.19", "new", "1"):
        with pytest.raises(UserError, match=r"write it like 1\.31"):
            release(wrong)
