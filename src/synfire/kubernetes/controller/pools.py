"""Pools: worker Pods of one kind, what may be taken away of them at a time, and how many there are when their number follows the load."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from synfire.kubernetes.controller.conditions import condition
from synfire.kubernetes.controller.objects import stamped
from synfire.kubernetes.controller.observed import Document, Key, Observed, Offers, Refusal
from synfire.kubernetes.controller.quantities import bytes_of
from synfire.kubernetes.controller.reading import Asked
from synfire.kubernetes.controller.scaling import Size, follows_models
from synfire.kubernetes.controller.serving import NAME
from synfire.kubernetes.controller.troubles import is_ready, trouble_of, unmade
from synfire.kubernetes.manifests import Description, Placing, Pool, workers
from synfire.kubernetes.manifests.description import RESOURCES
from synfire.kubernetes.manifests.parts import WORKER, document, labels
from synfire.kubernetes.manifests.workers import POOL
from synfire.kubernetes.resources import API, Condition, PoolSpec, PoolStatus

LEAST_MEMORY = 2**20
"""Bytes that a worker may hold at least: with less it holds no model, and a size without its unit is noticed."""

LONGEST = 30
"""Characters of a pool's name: those of its Pods have the deployment's before and a number behind, and a label repeats them."""


def wanted(
    found: Asked[PoolSpec], described: Description, claim: str, offers: Offers, count: int
) -> Iterator[Document]:
    """The objects of a pool of so many Pods whose spec is right; `claim` is that of its cache."""
    if found.spec is None:
        return
    spec, pool = found.spec, pool_of(found.name, found.spec, claim, count)
    yield stamped(workers.stateful_set(described, pool), found.document)
    yield stamped(_budget(described, pool, offers.budgets), found.document)
    if spec.autoscale is not None and not follows_models(spec) and not _why_not_scaled(spec, offers):
        yield stamped(_scaler(described, found.name, spec, offers.autoscalers), found.document)


def mistake(found: Asked[PoolSpec], claims: Sequence[str]) -> tuple[str, str]:
    """What is wrong with what was asked for: one word for it, and the words; two empty ones where nothing is."""
    spec = found.spec
    if spec is None:
        return "InvalidSpec", found.mistake
    if len(found.name) > LONGEST:
        return (
            "NameTooLong",
            f"the name has {len(found.name)} characters; a pool's has {LONGEST} at the most, make one with a shorter name",
        )
    if "." in found.name:
        return "InvalidName", "the name has a dot, which names of Pods cannot have; make a pool with another name"
    if spec.device not in RESOURCES and not spec.resource:
        return (
            "UnknownDevice",
            f"there is no device class {spec.device!r}; use one of {', '.join(RESOURCES)}, or name the resource of a class of your own",
        )
    if spec.resource and spec.device == "cpu":
        return (
            "InvalidSpec",
            f"resource {spec.resource} is for a device, and processors have none; name the device, or leave it out",
        )
    if bytes_of(spec.memory) < LEAST_MEMORY:
        return "InvalidSpec", f"memory {spec.memory} is less than 1Mi; write it like 512Mi or 2Gi"
    if spec.autoscale is not None and spec.autoscale.least > spec.autoscale.most:
        return (
            "InvalidSpec",
            f"autoscale.least {spec.autoscale.least} is more than autoscale.most {spec.autoscale.most}; write one that is not",
        )
    if follows_models(spec) and spec.role == "spares":
        return (
            "InvalidSpec",
            "autoscale.follows is models, and spares host none of their own; set count, or leave follows out",
        )
    if spec.autoscale is not None and not follows_models(spec) and not spec.autoscale.least:
        return (
            "InvalidSpec",
            "autoscale.least is 0, and no autoscaler goes below 1; write 1, or follows: models",
        )
    if spec.autoscale is not None and not spec.autoscale.metric and not spec.autoscale.target.isdecimal():
        return (
            "InvalidSpec",
            f"autoscale.target {spec.autoscale.target} is no whole percentage; write one, or name a metric",
        )
    if spec.cache and spec.cache not in claims:
        return "NoCache", f"there is no SynfireCache {spec.cache!r} in this namespace; make it, or leave cache out"
    return "", ""


def pool_of(name: str, spec: PoolSpec, claim: str, count: int) -> Pool:
    """A pool as manifests describe it."""
    return Pool(
        name,
        count,
        spec.role,
        spec.device,
        spec.resource or RESOURCES.get(spec.device, ""),
        spec.cpus,
        spec.cpu_request,
        bytes_of(spec.memory),
        Placing(dict(spec.node_selector), tuple(map(msgspec.to_builtins, spec.tolerations)), spec.priority_class_name),
        claim,
        spec.shares_nodes,
        spec.image,
    )


def set_of(found: Asked[PoolSpec]) -> Key:
    """The StatefulSet that Kubernetes makes a pool's Pods of."""
    return Key("StatefulSet", _called(found))


def pods_of(name: str, observed: Observed) -> tuple[Document, ...]:
    return tuple(each for each in observed.pods if each["metadata"].get("labels", {}).get(POOL) == name)


def status(
    found: Asked[PoolSpec], described: Description, observed: Observed, wrong: tuple[str, str], size: Size
) -> PoolStatus:
    """What the user of a pool is told that is to be of this size."""
    pods = pods_of(found.name, observed)
    hosts = observed.deployed.hosted if observed.deployed else {}
    chosen = labels(described, WORKER) | {POOL: found.name}
    return PoolStatus(
        conditions=_conditions(found, pods, observed, wrong, size),
        wanted=size.pods,
        count=len(pods),
        ready=sum(map(is_ready, pods)),
        hosting=sum(each["metadata"]["name"] in hosts for each in pods),
        selector=",".join(f"{name}={value}" for name, value in chosen.items()),
    )


def _conditions(
    found: Asked[PoolSpec], pods: Sequence[Document], observed: Observed, wrong: tuple[str, str], size: Size
) -> tuple[Condition, ...]:
    reason, message = wrong
    if reason or found.spec is None:
        return condition("Accepted", False, reason, message), condition("Ready", False, reason, message)
    accepted = condition("Accepted", True, "Accepted")
    scaled = _scaled(found, found.spec, observed, size)
    ready = sum(map(is_ready, pods))
    refused = _refused(found, observed, "StatefulSet") or _refused(found, observed, "PodDisruptionBudget")
    trouble = trouble_of(pods)
    if trouble is None and len(pods) < size.pods:
        trouble = unmade(set_of(found), pods, observed)
    if refused is not None:
        return accepted, condition("Ready", False, refused.reason, refused.message), *scaled
    if ready >= size.pods:
        return (
            accepted,
            condition("Ready", True, "AllJoined", f"{ready} of {size.pods} workers have joined"),
            *scaled,
        )
    if trouble is not None:
        return accepted, condition("Ready", False, *trouble), *scaled
    waiting = f"{ready} of {size.pods} workers have joined; the others are begun"
    return accepted, condition("Ready", False, "Joining", waiting), *scaled


def _scaled(found: Asked[PoolSpec], spec: PoolSpec, observed: Observed, size: Size) -> tuple[Condition, ...]:
    if spec.autoscale is None:
        return ()
    if follows_models(spec):
        most = spec.autoscale.most
        short = f"models could use {size.short} more {spec.device} workers than the {most} that the pool may have; raise autoscale.most"
        return (condition("Scaled", False, "AtMost", short) if size.short else condition("Scaled", True, "Scaled"),)
    if why := _why_not_scaled(spec, observed.offers):
        return (condition("Scaled", False, "NoMetrics", why),)
    if refused := _refused(found, observed, "HorizontalPodAutoscaler"):
        return (condition("Scaled", False, refused.reason, refused.message),)
    return (condition("Scaled", True, "Scaled"),)


def _refused(found: Asked[PoolSpec], observed: Observed, kind: str) -> Refusal | None:
    """Why an object of the pool cannot be made, or not be as it is to be."""
    return observed.refusals.get(Key(kind, _called(found)))


def _called(found: Asked[PoolSpec]) -> str:
    """The name of all that is made for the pool."""
    return f"{NAME}-{found.name}"


def _why_not_scaled(spec: PoolSpec, offers: Offers) -> str:
    if spec.autoscale is None or not offers.autoscalers:
        return (
            ""
            if spec.autoscale is None
            else "this cluster has no HorizontalPodAutoscaler that reads metrics; set count yourself"
        )
    if spec.autoscale.metric and not offers.custom_metrics:
        return (
            f"nobody in this cluster answers for custom metrics such as {spec.autoscale.metric}: install an adapter for custom.metrics.k8s.io, "
            "or leave metric out"
        )
    if not spec.autoscale.metric and not offers.resource_metrics:
        return "nobody in this cluster measures processors: install metrics-server, or name a metric of your own"
    return ""


def _budget(described: Description, pool: Pool, api: str) -> Document:
    """Drains take one Pod of the pool at a time."""
    chosen = {"matchLabels": labels(described, WORKER) | {POOL: pool.name}}
    name = f"{described.name}-{pool.name}"
    return document(api, "PodDisruptionBudget", name, described, WORKER, spec={"maxUnavailable": 1, "selector": chosen})


def _scaler(described: Description, name: str, spec: PoolSpec, api: str) -> Document:
    """It sets the count of the pool, not that of the Pods' own set: so nobody undoes what the other does."""
    scale = spec.autoscale
    assert scale is not None
    aim = {"type": "AverageValue", "averageValue": scale.target}
    metric: Document = {"type": "Pods", "pods": {"metric": {"name": scale.metric}, "target": aim}}
    if not scale.metric:
        share = {"type": "Utilization", "averageUtilization": int(scale.target)}
        metric = {"type": "Resource", "resource": {"name": "cpu", "target": share}}
    content = {
        "scaleTargetRef": {"apiVersion": API, "kind": "SynfirePool", "name": name},
        "minReplicas": scale.least,
        "maxReplicas": scale.most,
        "metrics": [metric],
    }
    called = f"{described.name}-{name}"
    return document(api, "HorizontalPodAutoscaler", called, described, WORKER, spec=content)
