"""What Pods stand on: an account without rights, secrets, a priority, and how many may be taken away at a time."""

from __future__ import annotations

from synfire.kubernetes.manifests.description import BUDGETS_V1, Description, Keys
from synfire.kubernetes.manifests.parts import WORKER, Document, document, selector


def account(description: Description) -> Document:
    """It has no rights, and its token is mounted nowhere."""
    return document("v1", "ServiceAccount", description.name, description, automountServiceAccountToken=False)


def secret(description: Description, keys: Keys) -> Document:
    """The callers' key, where there is one, and the workers' token."""
    data = ({"api-key": keys.api_key} if description.keyed else {}) | {"join-token": keys.join_token}
    return document("v1", "Secret", description.secret_name, description, type="Opaque", stringData=data)


def priority_class(description: Description, value: int) -> Document:
    """It belongs to the whole cluster."""
    return document(
        "scheduling.k8s.io/v1",
        "PriorityClass",
        description.name,
        description,
        value=value,
        globalDefault=False,
        description=f"Pods of the synfire deployment {description.name}.",
    )


def budget(description: Description, version: tuple[int, int]) -> Document:
    """Drains take one worker at a time. None for the gateway's Pod: it is alone, so a budget would stop every drain for good."""
    api = "policy/v1" if version >= BUDGETS_V1 else "policy/v1beta1"
    spec = {"maxUnavailable": 1, "selector": selector(description, WORKER)}
    return document(api, "PodDisruptionBudget", f"{description.name}-workers", description, WORKER, spec=spec)
