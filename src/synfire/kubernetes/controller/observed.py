"""What the controller knows of one namespace when it decides: frozen data, without a clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from synfire.kubernetes.controller.deployment import Deployed
from synfire.kubernetes.manifests.description import Placing

Document = dict[str, Any]

MANAGED = {"app.kubernetes.io/managed-by": "synfire-controller"}
"""The label of all objects that the controller made, by which it finds them again."""


class Key(NamedTuple):
    """An object of the namespace."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True)
class Settings:
    """What holds for every deployment of the controller. `storage_bytes` is the volume of each serving Pod; None: none. `memory_bytes` is all that such
    a Pod may hold; None: by the processes in it."""

    image: str
    gateways: int = 1
    keyed: bool = True
    storage_bytes: int | None = None
    cpu_request: str = ""
    options: tuple[str, ...] = ()
    log: str = "json"
    memory_bytes: int | None = None
    placing: Placing = field(default_factory=Placing)


@dataclass(frozen=True)
class Offers:
    """What the cluster's API has, of what not every release has: versions of disruption budgets and of autoscalers, and whether
    somebody answers for custom metrics and for those of processors."""

    budgets: str = "policy/v1"
    autoscalers: str = "autoscaling/v2"
    custom_metrics: bool = False
    resource_metrics: bool = False


@dataclass(frozen=True)
class Refusal:
    """What was tried and refused: with which content, and the words of who refused it."""

    digest: str
    message: str
    reason: str = "Refused"


@dataclass(frozen=True)
class Observed:
    """One namespace.

    `asked` are the custom resources, `made` the objects that carry our label. `deployed` is what the deployment says of itself; None
    where it does not answer, and `silence` says why. `refusals` are what Kubernetes' API or the deployment refused lately, by
    object. `now` is when that was so, as Kubernetes writes times.
    """

    namespace: str
    settings: Settings
    now: str
    asked: tuple[Document, ...] = ()
    made: Mapping[Key, Document] = field(default_factory=dict)
    pods: tuple[Document, ...] = ()
    cordoned: frozenset[str] = frozenset()
    deployed: Deployed | None = None
    silence: str = ""
    unseen: str = ""
    """What the controller may not look at, in the words of Kubernetes' API; empty where it sees everything."""

    refusals: Mapping[Key, Refusal] = field(default_factory=dict)
    offers: Offers = Offers()
    has_keys: bool = False
    """Whether the deployment's Secret is known to be there."""

    settles: bool = False
    """Whether the namespace has settings of its own."""

    unsettled: str = ""
    """What is wrong with them; empty where nothing is."""

    unmade: tuple[Document, ...] = ()
    """Events in which Kubernetes says why it makes no Pod that it should make."""

    lost: frozenset[str] = frozenset()
    """Nodes of which Kubernetes has heard nothing for so long that it does not know how they are."""

    leaving: bool = False
    """Whether the namespace is being deleted: nothing can be made in it any more."""

    def of_kind(self, kind: str) -> tuple[Document, ...]:
        """The custom resources of a kind, by name."""
        return tuple(
            sorted((each for each in self.asked if each["kind"] == kind), key=lambda each: each["metadata"]["name"])
        )
