"""synfire on a cluster, of the objects that its controller makes: a Pod that serves, Pods that host a model's stages, and a spare."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import httpx

from synfire.base.errors import PermanentError
from synfire.bench.kubernetes.ground import Document, Ground, until
from synfire.bench.kubernetes.subject import MODEL, Subject
from synfire.bench.witness import PATIENCE_S
from synfire.kubernetes.manifests import Description, Pool, gateway, surroundings, workers
from synfire.kubernetes.manifests.writing import fresh_keys

NAME = "synfire"
HOSTS, SPARES = 2, 1
"""Worker Pods. Whoever hosted a stage and was lost is a spare when it is there again."""

SERVING = f"{NAME}-0"
CPU = "100m"
"""What each Pod asks of its node: all nodes are one machine, and each believes that it has all of it."""

MEMORY_BYTES = 2**29
ANSWER_S = 5.0


class Deployment(Subject):
    """It is asked what it knows of its workers over its own HTTP, and Kubernetes of nothing."""

    every_s: ClassVar[float] = 0.05
    patience_s: ClassVar[float] = PATIENCE_S
    sets: ClassVar[tuple[str, ...]] = (f"statefulset/{NAME}-hosts", f"statefulset/{NAME}-spares")

    def __init__(self, ground: Ground, url: str, asking: httpx.Client) -> None:
        super().__init__(ground, url)
        self._asking = asking

    def want(self) -> None:
        """Have the model served, cut as finely as can be and spread over the hosts."""
        wish = {"source": MODEL, "granularity": "operator", "workers": HOSTS}
        told = self._asking.put(f"/api/deployment/models/{MODEL}", json=wish)
        if told.is_error:
            raise PermanentError(f"the deployment does not take {MODEL}: status {told.status_code}, {told.text}")

    def members(self) -> dict[str, bool]:
        """The Pods that are counted on, and whether each hosts a stage."""
        return {
            each["name"]: bool(each["plans"])
            for each in self._workers()
            if each["joined"] and each["ready"] and each["status"] == "ready" and not each["leaving"]
        }

    def whole(self) -> bool:
        """One Pod or more are spares, and what one hosts is not all."""
        members = self.members()
        return self.there() and HOSTS <= sum(members.values()) < len(members)

    def there(self) -> bool:
        return len(self.members()) == HOSTS + SPARES and self._served()

    def exposed(self) -> Sequence[str]:
        return sorted(name for name, hosts in self.members().items() if hosts)

    def without(self, pod: Document) -> bool:
        """Whether no plan names it, whatever is known of it else."""
        return pod["metadata"]["name"] not in {each["name"] for each in self._workers() if each["plans"]}

    def expendable(self, pod: str) -> bool:
        """A node is, unless the Pod that serves is there, which is one."""
        node = self.ground.pod(SERVING)["spec"]["nodeName"]
        return bool(self.ground.pod(pod)["spec"]["nodeName"] != node)

    def until_whole(self) -> None:
        """Where one Pod took over what several had, stages are spread again."""
        until(self.there, "that all Pods have joined and the model is served", self.every_s)
        if sum(self.members().values()) < HOSTS:
            self._asking.post("/api/rebalance", timeout=60.0)  # what comes of it is looked at
        super().until_whole()

    def _served(self) -> bool:
        return bool(self._asked(f"/api/deployment/models/{MODEL}")["status"] == "served")

    def _workers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._asked("/api/workers")
        return found

    def _asked(self, path: str) -> Any:
        return self._asking.get(path).raise_for_status().json()


@contextmanager
def deployed(ground: Ground) -> Iterator[Deployment]:
    """It for the block, in a namespace of its own, whole."""
    with ground.apart("synfire") as mine:
        mine.kubectl.apply(*documents(mine.image))
        mine.rolled_out(f"statefulset/{NAME}")
        url = mine.url(NAME)
        with httpx.Client(base_url=url, timeout=ANSWER_S, trust_env=False) as asking:
            found = Deployment(mine, url, asking)
            found.want()
            for each in found.sets:
                mine.rolled_out(each)
            found.until_whole()
            yield found


def documents(image: str) -> list[Document]:
    """All of its objects, without a key for callers. Pods ask for little, since nodes share a machine."""
    described = Description((), image, NAME, workers=0, spares=0, keyed=False, cpu_request=CPU)
    pools = (
        Pool("hosts", HOSTS, "workers", cpu_request=CPU, memory_bytes=MEMORY_BYTES),
        Pool("spares", SPARES, "spares", cpu_request=CPU, memory_bytes=MEMORY_BYTES),
    )
    return [
        surroundings.account(described),
        gateway.settings(described),
        surroundings.secret(described, fresh_keys()),
        *gateway.services(described),
        workers.service(described),
        gateway.stateful_set(described),
        *(workers.stateful_set(described, each) for each in pools),
    ]
