"""Where objects of each kind lie in Kubernetes' API."""

from __future__ import annotations

from synfire.base.errors import Bug
from synfire.kubernetes.resources import KINDS

PLURALS = {
    "ConfigMap": "configmaps",
    "Endpoints": "endpoints",
    "Event": "events",
    "HorizontalPodAutoscaler": "horizontalpodautoscalers",
    "Job": "jobs",
    "Lease": "leases",
    "Namespace": "namespaces",
    "NetworkPolicy": "networkpolicies",
    "Node": "nodes",
    "PersistentVolumeClaim": "persistentvolumeclaims",
    "Pod": "pods",
    "PodDisruptionBudget": "poddisruptionbudgets",
    "Secret": "secrets",
    "Service": "services",
    "ServiceAccount": "serviceaccounts",
    "StatefulSet": "statefulsets",
} | {each.name: each.plural for each in KINDS}

OF_CLUSTER = ("Namespace", "Node")
"""Kinds whose objects belong to no namespace."""


def path_of(api: str, kind: str, namespace: str = "", name: str = "") -> str:
    """The path of an object, or without a name of all of its kind; without a namespace those of every one."""
    if kind not in PLURALS:
        raise Bug(f"nobody knows where objects of kind {kind} lie; add its plural to PLURALS")
    found = f"/api/{api}" if "/" not in api else f"/apis/{api}"
    if namespace and kind not in OF_CLUSTER:
        found += f"/namespaces/{namespace}"
    return f"{found}/{PLURALS[kind]}" + (f"/{name}" if name else "")
