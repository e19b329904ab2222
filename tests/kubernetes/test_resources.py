"""The custom resources' definitions say what their types say, and the API server of every supported release takes them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from test_manifests import assert_valid, assert_valid_for_old  # beside this file, which is imported by its path

from synfire.base.errors import Bug, UserError
from synfire.kubernetes.controller.objects import called, is_as, merged, stamped, suits
from synfire.kubernetes.controller.quantities import bytes_of
from synfire.kubernetes.manifests import Board
from synfire.kubernetes.manifests.controller import ControllerDescription, documents
from synfire.kubernetes.manifests.writing import to_yaml
from synfire.kubernetes.resources import KINDS, Kind, ModelSpec, PoolSpec, definitions
from synfire.kubernetes.resources.schema import schema_of

EVERYWHERE = ControllerDescription("synfire:0.1.0")
ONE = ControllerDescription("synfire:0.1.0", "models", only="models", options=("--keyless",))
CHIPS = ControllerDescription("synfire:0.1.0", board=Board(2, 5, 100, 1))

every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda each: each.name)


def schema(kind: Kind) -> dict[str, Any]:
    (found,) = (each for each in definitions() if each["spec"]["names"]["kind"] == kind.name)
    whole: dict[str, Any] = found["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return whole


@pytest.mark.parametrize("description", [EVERYWHERE, ONE, CHIPS], ids=["everywhere", "one", "chips"])
def test_the_controller_s_documents_are_valid_for_every_release(
    description: ControllerDescription, tmp_path: Path
) -> None:
    found = documents(description)
    assert_valid(found, "1.25", kubernetes_validate.latest_version())
    assert_valid_for_old(to_yaml(found), tmp_path, "1.20", "1.24")


def test_in_one_namespace_it_has_no_right_in_the_cluster() -> None:
    kinds = {each["kind"] for each in documents(ONE)}
    assert not kinds & {"ClusterRole", "ClusterRoleBinding", "Namespace"}
    assert "--namespace" in _command(ONE)
    assert {"ClusterRole", "ClusterRoleBinding", "Namespace"} <= {each["kind"] for each in documents(EVERYWHERE)}


def test_chips_are_told_to_nodes_by_a_plugin_whose_account_has_no_rights() -> None:
    found = documents(CHIPS)
    (daemon,) = (each for each in found if each["kind"] == "DaemonSet")
    account = daemon["spec"]["template"]["spec"]["serviceAccountName"]
    assert account in {each["metadata"]["name"] for each in found if each["kind"] == "ServiceAccount"}
    subjects = [subject["name"] for each in found for subject in each.get("subjects", ())]
    assert (account, set(subjects)) == ("synfire-device-plugin", {"synfire-controller"})
    assert len(documents(CHIPS)) == len(documents(EVERYWHERE)) + 2


def _command(description: ControllerDescription) -> list[str]:
    (deployment,) = (each for each in documents(description) if each["kind"] == "Deployment")
    command: list[str] = deployment["spec"]["template"]["spec"]["containers"][0]["command"]
    return command


@every_kind
def test_a_schema_is_structural(kind: Kind) -> None:
    """As `apiextensions.k8s.io/v1` has it: every value has a type, or is free."""
    for each in _schemas(schema(kind)):
        assert "type" in each or each.get("x-kubernetes-preserve-unknown-fields")
        assert not {"anyOf", "oneOf", "$ref", "x-kubernetes-validations"} & set(each)


def _schemas(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield found
    for each in found.get("properties", {}).values():
        yield from _schemas(each)
    for name in ("items", "additionalProperties"):
        if name in found:
            yield from _schemas(found[name])


@every_kind
def test_what_the_schema_takes_its_type_takes(kind: Kind) -> None:
    """An object with every default filled in, as the API server does, is one that can be read."""
    spec = schema(kind)["properties"]["spec"]
    filled = {name: each["default"] for name, each in spec["properties"].items() if "default" in each}
    needed = {name: {} for name in spec.get("required", ())}
    read = msgspec.convert({**filled, **needed}, kind.spec)
    assert read == msgspec.convert(needed, kind.spec)


@pytest.mark.parametrize(
    ("struct", "spec"),
    [
        (ModelSpec, {"replicas": 100}),
        (ModelSpec, {"replicas": "1"}),
        (ModelSpec, {"granularity": "fine"}),
        (ModelSpec, {"servedName": "a b"}),
        (ModelSpec, {"memory": "much"}),
        (ModelSpec, {"scale": {"least": 0}}),
        (ModelSpec, {"scale": {"most": 3, "calls": -1}}),
        (ModelSpec, {"stages": {"conv": {"least": 2}}}),
        (ModelSpec, {"stages": {"conv": {"most": 2, "least": -1}}}),
        (PoolSpec, {"role": "helpers"}),
        (PoolSpec, {"resource": "chips"}),
        (PoolSpec, {"count": -1}),
        (PoolSpec, {"tolerations": [{"effect": "Never"}]}),
        (PoolSpec, {"autoscale": {"least": 1}}),
    ],
    ids=str,
)
def test_what_the_type_refuses_the_schema_refuses(struct: type[msgspec.Struct], spec: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(spec, struct)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(spec, schema_of(struct))


def test_a_type_without_a_schema_is_a_bug() -> None:
    class Odd(msgspec.Struct):
        value: bytes

    with pytest.raises(Bug, match="teach it here"):
        schema_of(Odd)


def test_parts_of_any_form_make_names_that_kubernetes_takes_and_no_two_the_same() -> None:
    pairs = [
        ("a", "b-c"),
        ("a-b", "c"),
        ("a", "b.c"),
        ("a", "b/c"),
        ("A", "b"),
        ("m" * 63, "s"),
        ("m" * 63, "t"),
        ("1", "2"),
    ]
    names = [called(*each) for each in pairs]
    assert all(map(suits, names))
    assert len(set(names)) == len(pairs)
    assert called("svgg-digits", "fc1") == "svgg-digits--fc1"
    assert called("svgg-digits", "features.3").startswith("svgg-digits-features-3-")


def test_an_object_is_as_wanted_when_the_server_has_only_filled_in() -> None:
    wanted = stamped({"kind": "Service", "metadata": {"name": "a", "labels": {}}, "spec": {"ports": [{"port": 1}]}})
    seen = {**wanted, "spec": {"ports": [{"port": 1, "protocol": "TCP"}], "clusterIP": "10.0.0.1"}, "status": {}}
    assert is_as(wanted, seen)
    other = {**seen, "spec": {"ports": [{"port": 2, "protocol": "TCP"}], "clusterIP": "10.0.0.1"}}
    assert not is_as(wanted, other)
    assert merged(wanted, other)["spec"] == {"ports": [{"port": 1}], "clusterIP": "10.0.0.1"}
    less = stamped({"kind": "Service", "metadata": {"name": "a", "labels": {}}, "spec": {"ports": []}})
    assert not is_as(less, seen)


def test_what_others_add_for_pods_stays_when_an_object_is_replaced() -> None:
    def account(**more: Any) -> dict[str, Any]:
        return {"kind": "ServiceAccount", "metadata": {"name": "a"}, "automountServiceAccountToken": False, **more}

    def pods(**annotations: str) -> dict[str, Any]:
        template = {"metadata": {"labels": {"a": "b"}, "annotations": annotations}, "spec": {"containers": []}}
        return {"kind": "StatefulSet", "metadata": {"name": "a"}, "spec": {"replicas": 1, "template": template}}

    others = {"imagePullSecrets": [{"name": "registry"}], "secrets": [{"name": "token"}]}
    mistaken = {**account(**others), "automountServiceAccountToken": True}
    assert merged(stamped(account()), mistaken) == {**merged(stamped(account()), account()), **others}
    seen = pods(**{"kubectl.kubernetes.io/restartedAt": "now", "synfire/settings": "1", "synfire.dev/gone": "x"})
    written = merged(stamped(pods(**{"synfire/settings": "2"})), seen)["spec"]["template"]["metadata"]
    noted = {"kubectl.kubernetes.io/restartedAt": "now", "synfire/settings": "2"}
    assert written == {"labels": {"a": "b"}, "annotations": noted}
    assert merged(stamped(pods()), pods())["spec"] == pods()["spec"]


def test_sizes_are_read_as_kubernetes_writes_them() -> None:
    assert [bytes_of(each) for each in ("1Gi", "512Mi", "1.5G", "1000", "2k")] == [
        2**30,
        2**29,
        1_500_000_000,
        1000,
        2000,
    ]
    with pytest.raises(UserError, match="write it like 512Mi"):
        bytes_of("much")
