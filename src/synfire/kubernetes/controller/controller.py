"""The controller: copies of what is there, a lease, and one space for each namespace with objects of ours."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from synfire.base.errors import SynfireError
from synfire.kubernetes.cluster.api import Api, ApiError
from synfire.kubernetes.cluster.lease import Lease, Terms
from synfire.kubernetes.cluster.mirror import Mirror, Name
from synfire.kubernetes.controller import serving, settings
from synfire.kubernetes.controller.asking import Asking
from synfire.kubernetes.controller.hands import Hands, Reach
from synfire.kubernetes.controller.nodes import cordoned, lost
from synfire.kubernetes.controller.observed import MANAGED, Document, Key, Observed, Offers, Settings
from synfire.kubernetes.controller.space import Space
from synfire.kubernetes.controller.troubles import UNMADE
from synfire.kubernetes.manifests.controller import LEASE
from synfire.kubernetes.resources import API, GROUP, KINDS

LOGGER = logging.getLogger(__name__)


OURS = ",".join(f"{name}={value}" for name, value in MANAGED.items())
OF_DEPLOYMENTS = "app.kubernetes.io/name=synfire"

MADE = {
    "ConfigMap": "v1",
    "Endpoints": "v1",
    "Job": "batch/v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "PersistentVolumeClaim": "v1",
    "Service": "v1",
    "ServiceAccount": "v1",
    "StatefulSet": "apps/v1",
}
"""What the controller makes in every release; disruption budgets and autoscalers depend on it."""

SETTINGS = "Settings"
"""Under which ConfigMaps are kept that users make: their kind is that of ours."""

LEFT_S = 5.0
"""How soon it is noticed that nothing is left in a namespace, in seconds."""

AWAY_S = 1.0

RESYNC_S = 300.0
"""How often every namespace is looked at though nothing has changed."""


@dataclass(frozen=True)
class Scope:
    """Where the controller works: in one `namespace`, or with none in all of them; and in which the lease lies."""

    own: str
    namespace: str = ""
    identity: str = "synfire-controller"
    url: str = "http://synfire.{namespace}.svc:8000"
    """Where the deployment of a namespace is reached."""

    terms: Terms = field(default_factory=Terms)


class Controller:
    """One of several; the one that holds the lease acts. `rested` is called when everything has been listed, and again with each resync."""

    def __init__(self, api: Api, settings: Settings, scope: Scope, rested: Callable[[], object] = lambda: None) -> None:
        self.spaces: dict[str, Space] = {}
        self.offers = Offers()
        self.lease = Lease(
            api, scope.own, LEASE, scope.identity, scope.terms, changed=lambda held: self._touch(self.spaces)
        )
        self._api = api
        self._settings = settings
        self._scope = scope
        self._rested = rested
        self._mirrors: dict[str, Mirror] = {}
        self._made: dict[str, dict[Key, Document]] = {}
        self._reaches: dict[str, Asking] = {}
        self._group: asyncio.TaskGroup | None = None

    @property
    def ready(self) -> bool:
        """Whether everything has been listed once."""
        return bool(self._mirrors) and all(each.listed.is_set() for each in self._mirrors.values())

    async def run(self) -> None:
        """Until cancelled; then the lease is given back."""
        self.offers = await self._discover()
        self._mirrors = dict(self._copies())
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                for each in self._mirrors.values():
                    group.create_task(each.run())
                for each in self._mirrors.values():
                    await each.listed.wait()
                group.create_task(self.lease.run())
                self._touch(self._inhabited())
                while True:
                    self._rested()
                    await asyncio.sleep(RESYNC_S)
                    await self._look_for_metrics()
                    self._touch(self._inhabited())
        finally:
            await asyncio.shield(self._goodbye())

    def reach(self, namespace: str, hands: Callable[[], Hands]) -> Reach:
        """How the deployment of a namespace is asked; tests put another one in its place."""

        async def key() -> str:
            return (await hands().keys()).api_key if self._settings.keyed else ""

        found = self._reaches[namespace] = Asking(self._scope.url.format(namespace=namespace), key)
        return found

    def observe(self, namespace: str) -> Observed:
        """What is known of a namespace, but for what its deployment says. It is looked at before anything is awaited: objects that were made are
        those of the moment, and not copied."""
        refused = next((each.refused for kind, each in self._mirrors.items() if each.refused and kind != "Event"), "")
        nodes = self._nodes()
        asked = self._mirrors[SETTINGS].objects.get((namespace, settings.NAME))
        settled, unsettled = settings.settled(self._settings, asked)
        return Observed(
            namespace,
            settled,
            "",
            tuple(each for kind in KINDS for each in self._mirrors[kind.name].of(namespace)),
            self._made.get(namespace, {}),
            tuple(self._mirrors["Pod"].of(namespace)),
            cordoned(nodes),
            settles=asked is not None,
            unsettled=unsettled,
            unmade=tuple(self._mirrors["Event"].of(namespace)),
            lost=lost(nodes),
            unseen=refused,
            offers=self.offers,
            leaving=self._is_leaving(namespace),
        )

    def _kinds_made(self) -> dict[str, str]:
        """The kinds of objects that are made here, and their API's versions."""
        found = MADE | {"PodDisruptionBudget": self.offers.budgets}
        return found | ({"HorizontalPodAutoscaler": self.offers.autoscalers} if self.offers.autoscalers else {})

    def _copies(self) -> Iterator[tuple[str, Mirror]]:
        one = self._scope.namespace
        for kind in KINDS:
            yield kind.name, Mirror(self._api, API, kind.name, one, "", self._changed)
        for name, api in self._kinds_made().items():
            yield name, Mirror(self._api, api, name, one, OURS, self._changed, partial(self._keep_made, name))
        yield "Pod", Mirror(self._api, "v1", "Pod", one, OF_DEPLOYMENTS, self._changed)
        named = f"metadata.name={settings.NAME}"
        yield SETTINGS, Mirror(self._api, "v1", "ConfigMap", one, "", self._changed, fields=named)
        yield "Event", Mirror(self._api, "v1", "Event", one, "", self._changed, fields=f"reason={UNMADE}")
        if not one:
            for name in ("Node", "Namespace"):
                yield name, Mirror(self._api, "v1", name, "", "", self._changed)

    def _keep_made(self, kind: str, name: Name, found: Document | None) -> None:
        """An object that we have made is another one, or has gone."""
        namespace, made = name[0], Key(kind, name[1])
        if found is not None:
            self._made.setdefault(namespace, {})[made] = found
        elif (there := self._made.get(namespace)) is not None:
            there.pop(made, None)
            if not there:
                del self._made[namespace]

    def _changed(self, namespace: str, found: Document | None) -> None:
        """Something is other in a namespace, an object for one; without a namespace, in the whole cluster."""
        self._touch([namespace] if namespace else list(self.spaces), found)

    def _touch(self, namespaces: Iterable[str], found: Document | None = None) -> None:
        if self._group is None or not self.ready:
            return
        for each in list(namespaces):
            if each not in self.spaces and self._is_inhabited(each):
                self._begin(each)
            if each in self.spaces:
                self.spaces[each].touch(found)

    def _begin(self, namespace: str) -> None:
        assert self._group is not None
        described = serving.description(Observed(namespace, self._settings, ""))
        reach = self.reach(namespace, lambda: hands)
        hands = Hands(self._api, namespace, self._mirrors, reach, described)
        space = self.spaces[namespace] = Space(namespace, self.observe, hands, reach, lambda: self.lease.held)
        self._group.create_task(self._keep(namespace, space))

    async def _keep(self, namespace: str, space: Space) -> None:
        """Until nothing of ours is left there."""
        working = asyncio.ensure_future(space.run())
        try:
            while self._is_inhabited(namespace):
                done, _ = await asyncio.wait({working}, timeout=LEFT_S)
                if done:
                    await working
        finally:
            working.cancel()
            self.spaces.pop(namespace, None)
            await asyncio.gather(working, return_exceptions=True)
            if reach := self._reaches.pop(namespace, None):
                await reach.close()

    def _is_inhabited(self, namespace: str) -> bool:
        kinds = [
            *(each.name for each in KINDS),
            *(each for each in self._kinds_made() if each != "PersistentVolumeClaim"),
        ]
        return any(True for kind in kinds for _ in self._mirrors[kind].of(namespace))

    def _inhabited(self) -> set[str]:
        names = {name for each in self._mirrors.values() for name in each.namespaces()}
        return {name for name in names if name and self._is_inhabited(name)}

    def _nodes(self) -> list[Document]:
        """None where only one namespace is seen."""
        found = self._mirrors.get("Node")
        return list(found.objects.values()) if found is not None else []

    def _is_leaving(self, namespace: str) -> bool:
        spaces = self._mirrors.get("Namespace")
        found = spaces.objects.get(("", namespace)) if spaces is not None else None
        return found is not None and "deletionTimestamp" in found["metadata"]

    async def _discover(self) -> Offers:
        """What this cluster has of what not every release has. Waits for a server that is away, or still begins."""
        while True:
            try:
                versions = await self._versions()
                if GROUP in versions and "policy" in versions:
                    return _offers(versions)
                LOGGER.warning(
                    "the server knows nothing of %s yet; `synfire deploy kubernetes --controller --render` has the definitions",
                    GROUP,
                )
            except ApiError:
                raise
            except SynfireError as error:
                LOGGER.warning("%s; it is asked again", error)
            await asyncio.sleep(AWAY_S)

    async def _look_for_metrics(self) -> None:
        """Somebody may have begun to measure, or ended. What is made stays in the versions in which it is watched."""
        try:
            found = _offers(await self._versions())
        except SynfireError as error:
            LOGGER.info("%s; metrics are taken to be as they were", error)
            return
        self.offers = replace(self.offers, custom_metrics=found.custom_metrics, resource_metrics=found.resource_metrics)

    async def _versions(self) -> dict[str, list[str]]:
        """What the server has, by API group."""
        groups = (await self._api.ask("GET", "/apis"))["groups"]
        return {each["name"]: [v["groupVersion"] for v in each["versions"]] for each in groups}

    async def _goodbye(self) -> None:
        await self.lease.release()
        for each in self._reaches.values():
            await each.close()


def _offers(versions: Mapping[str, Sequence[str]]) -> Offers:
    scalers = versions.get("autoscaling", ())
    return Offers(
        "policy/v1" if "policy/v1" in versions["policy"] else "policy/v1beta1",
        next((each for each in ("autoscaling/v2", "autoscaling/v2beta2") if each in scalers), ""),
        "custom.metrics.k8s.io" in versions,
        "metrics.k8s.io" in versions,
    )
