"""Who may talk to whom. All else is refused, where the cluster's network keeps NetworkPolicies."""

from __future__ import annotations

from synfire.kubernetes.manifests.description import GRPC, HTTP, LINK, Description
from synfire.kubernetes.manifests.parts import GATEWAY, WORKER, Document, document, selector

API = "networking.k8s.io/v1"

_NAMES = (53, 5353)
"""Where names are looked up. A policy sees the port of the Pod that answers, which in OpenShift is the second one."""


def policies(description: Description, stages_reached: bool = False) -> list[Document]:
    """One that refuses, and what is allowed of the gateway's Pod and of workers. Where `stages_reached`, every Pod of the namespace
    may call stages at their workers' own doors."""
    gateway, worker = ({"podSelector": selector(description, each)} for each in (GATEWAY, WORKER))
    names = {"ports": [_port(number, protocol) for number in _NAMES for protocol in ("UDP", "TCP")]}
    both = ["Ingress", "Egress"]
    refuse = {"podSelector": selector(description), "policyTypes": both}
    at_gateway = {
        "podSelector": selector(description, GATEWAY),
        "policyTypes": both,
        "ingress": [
            {"ports": [_port(HTTP), _port(GRPC)]},
            {"from": [worker]},  # at any port: the door's, and those that the workers in that Pod listen at
        ],
        "egress": [names, {"to": [worker]}],
    }
    callers: list[Document] = [{"from": [{"podSelector": {}}], "ports": [_port(HTTP)]}] if stages_reached else []
    at_worker = {
        "podSelector": selector(description, WORKER),
        "policyTypes": both,
        "ingress": [{"from": [gateway, worker], "ports": [_port(LINK), _port(HTTP)]}, *callers],
        "egress": [names, {"to": [gateway, worker]}],
    }
    return [
        document(API, "NetworkPolicy", f"{description.name}-refuse", description, spec=refuse),
        document(API, "NetworkPolicy", f"{description.name}-gateway", description, GATEWAY, spec=at_gateway),
        document(API, "NetworkPolicy", f"{description.name}-workers", description, WORKER, spec=at_worker),
    ]


def _port(number: int, protocol: str = "TCP") -> Document:
    return {"port": number, "protocol": protocol}
