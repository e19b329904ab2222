"""The Pod that serves a namespace: supervisor, controller and gateways, without workers of its own; and what it stands on."""

from __future__ import annotations

from collections.abc import Iterator

from synfire.kubernetes.controller.objects import stamped
from synfire.kubernetes.controller.observed import Document, Observed
from synfire.kubernetes.manifests import Description, gateway, network, surroundings, workers
from synfire.kubernetes.manifests.description import HTTP

NAME = "synfire"
"""What the deployment of a namespace is called: there is one."""


def description(observed: Observed, cache: str = "") -> Description:
    """The deployment as manifests describe it; `cache` is a claim that it keeps its store on."""
    settings = observed.settings
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
        options=settings.options,
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


def url_of(namespace: str, name: str) -> str:
    """Where callers in the cluster reach a served name."""
    return f"http://{NAME}.{namespace}.svc:{HTTP}/v2/models/{name}"
