"""The Pod that serves a namespace: supervisor, controller and gateways, without workers of its own; and what it stands on."""

from __future__ import annotations

from collections.abc import Iterator

from synfire.kubernetes.controller.conditions import condition
from synfire.kubernetes.controller.objects import stamped
from synfire.kubernetes.controller.observed import Document, Key, Observed, Refusal
from synfire.kubernetes.manifests import Description, gateway, network, surroundings, workers
from synfire.kubernetes.manifests.description import HTTP
from synfire.kubernetes.resources import Condition

NAME = "synfire"
"""What the deployment of a namespace is called: there is one."""

AWAIT_MODELS = "5m"
"""For how long at the most the serving Pod waits to be told which models there are, where the controller is away, too."""

_ALONE = ("ServiceAccount", "ConfigMap", "NetworkPolicy", "Secret")
"""Kinds of which nothing is made for one object of a user's."""

_SHARED = {("StatefulSet", NAME), *(("Service", each) for each in (NAME, f"{NAME}-join", f"{NAME}-workers"))}


def description(observed: Observed, cache: str = "") -> Description:
    """The deployment as manifests describe it; `cache` is a claim that it keeps its store on."""
    settings, known = observed.settings, observed.made.get(Key("ConfigMap", f"{NAME}-settings"))
    return Description(
        models=(),
        image=settings.image,
        name=NAME,
        namespace=observed.namespace,
        gateways=settings.gateways,
        workers=0,
        spares=0,
        keyed=settings.keyed,
        storage_bytes=None if cache else settings.storage_bytes,
        cache=cache,
        cpu_request=settings.cpu_request,
        log=known["data"]["SYNFIRE_LOG"] if observed.unsettled and known is not None else settings.log,
        options=settings.options,
        serving_memory_bytes=settings.memory_bytes,
        placing=settings.placing,
        await_models=AWAIT_MODELS,
    )


def wanted(described: Description) -> Iterator[Document]:
    """Everything that the pools share. The Secret is no part of it: its keys are drawn, not derived."""
    yield stamped(surroundings.account(described))
    yield stamped(gateway.settings(described))
    for each in network.policies(described, stages_reached=True):
        yield stamped(each)
    for each in (*gateway.services(described), workers.service(described)):
        yield stamped(each)
    yield stamped(gateway.stateful_set(described))


def conditions(observed: Observed) -> tuple[Condition, ...]:
    """Whether the deployment has the settings of its namespace, where that has any."""
    if not observed.settles:
        return ()
    refusal = observed.refusals.get(Key("StatefulSet", NAME))
    if observed.unsettled:
        return (condition("Settings", False, "InvalidSettings", f"{observed.unsettled}; what serves stays as it is"),)
    if refusal is not None:
        words = f"{refusal.message}; what serves stays as it is: take the change back, or delete StatefulSet {NAME} for a new one"
        return (condition("Settings", False, refusal.reason, words),)
    return (condition("Settings", True, "Settled"),)


def refused(observed: Observed) -> Refusal | None:
    """Why something cannot be made that all pools share; the serving Pod's own set first."""
    shared = [key for key in observed.refusals if key.kind in _ALONE or (key.kind, key.name) in _SHARED]
    first = min(shared, key=lambda each: (each.kind != "StatefulSet", each), default=None)
    return observed.refusals[first] if first is not None else None


def url_of(namespace: str, name: str) -> str:
    """Where callers in the cluster reach a served name."""
    return f"http://{NAME}.{namespace}.svc:{HTTP}/v2/models/{name}"
