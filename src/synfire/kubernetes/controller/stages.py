"""Stages as Services: each leads to the worker that hosts it now, and Pods say what they host."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import quote, urlsplit

from synfire.kubernetes.controller.decision import MarkPod
from synfire.kubernetes.controller.deployment import Hosted, ServedModel
from synfire.kubernetes.controller.memory import Group, Memory
from synfire.kubernetes.controller.objects import called, stamped
from synfire.kubernetes.controller.observed import Document, Observed
from synfire.kubernetes.manifests import Description
from synfire.kubernetes.manifests.description import HTTP
from synfire.kubernetes.manifests.parts import document
from synfire.kubernetes.manifests.workers import POOL

STAGE = "synfire.dev/stage"
MODEL = "synfire.dev/model"
PATH = "synfire.dev/path"
DUTY = "synfire.dev/duty"
HOSTS = "synfire.dev/hosts"
DRAINED = "synfire.dev/drained"

Address = tuple[Document, int]

MOST_TOLD = 16
"""Stages of a Pod that its annotation names; it counts the others."""


def service_of(model: str, stage: str) -> str:
    """What the Service of a stage is called, by its model's object."""
    return called(model, stage)


def path_of(hosted: Hosted, model: str) -> str:
    """Where the stage answers at its worker's own door."""
    return f"/v2/models/{quote(f'{hosted.replica or model}.{hosted.name}', safe='')}"


def wanted(
    owner: Document, served: ServedModel, described: Description, addresses: Mapping[str, Address], memory: Memory
) -> Group:
    """A headless Service of each stage, and where it leads: the workers that host the stage, of all replicas."""
    where = {each.worker: addresses.get(each.worker) for each in served.stages}
    return memory.made(owner, (served, where, described), lambda: _made(owner, served, described, where))


def _made(
    owner: Document, served: ServedModel, described: Description, where: Mapping[str, Address | None]
) -> Iterator[Document]:
    by_name: dict[str, list[Hosted]] = {}
    for each in served.stages:
        by_name.setdefault(each.name, []).append(each)
    model = owner["metadata"]["name"]
    for stage, hosted in by_name.items():
        name = service_of(model, stage)
        marks = {MODEL: served.name, STAGE: stage, PATH: path_of(hosted[0], served.name)}
        ports = [{"name": "http", "port": HTTP, "protocol": "TCP"}]
        service = document("v1", "Service", name, described, "stage", spec={"clusterIP": "None", "ports": ports})
        yield stamped(_annotated(service, marks), owner)
        found = [address for each in hosted if (address := where[each.worker]) is not None]
        subsets = [
            {"addresses": [dict(address)], "ports": [{"name": "http", "port": port, "protocol": "TCP"}]}
            for address, port in found
        ]
        ends = document("v1", "Endpoints", name, described, "stage", subsets=subsets)
        yield stamped(_annotated(ends, marks), owner)


def marks(observed: Observed) -> Iterator[MarkPod]:
    """What worker Pods are to say of themselves, where they do not yet."""
    if observed.deployed is None:
        return
    for pod in observed.pods:
        metadata = pod["metadata"]
        if POOL not in metadata.get("labels", {}):
            continue
        name = metadata["name"]
        stages, worker = observed.deployed.hosted.get(name, ()), observed.deployed.workers.get(name)
        duty = "none" if worker is None else "host" if stages else "spare"
        told = ", ".join(stages[:MOST_TOLD]) + (
            f" and {len(stages) - MOST_TOLD} more" if len(stages) > MOST_TOLD else ""
        )
        if metadata["labels"].get(DUTY) != duty or metadata.get("annotations", {}).get(HOSTS, "") != told:
            yield MarkPod(name, {DUTY: duty}, {HOSTS: told or None})


def nodes(observed: Observed) -> dict[str, str]:
    """The node of each worker Pod."""
    return {each["metadata"]["name"]: each.get("spec", {}).get("nodeName", "") for each in observed.pods}


def addresses(observed: Observed) -> dict[str, Address]:
    """Where each worker's own door is, as Endpoints have it, and at which port."""
    pods = {each["metadata"]["name"]: each for each in observed.pods}
    found: dict[str, Address] = {}
    for name, worker in observed.deployed.workers.items() if observed.deployed else ():
        pod, url = pods.get(name), urlsplit(worker.url)
        ip = (pod or {}).get("status", {}).get("podIP") or url.hostname
        if not ip or not worker.ready:
            continue
        address: Document = {"ip": ip}
        if pod is not None:
            metadata = pod["metadata"]
            address["nodeName"] = pod["spec"]["nodeName"]
            address["targetRef"] = {"kind": "Pod"} | {each: metadata[each] for each in ("name", "namespace", "uid")}
        found[name] = address, url.port or HTTP
    return found


def _annotated(found: Document, annotations: Mapping[str, str]) -> Document:
    return {**found, "metadata": {**found["metadata"], "annotations": dict(annotations)}}
