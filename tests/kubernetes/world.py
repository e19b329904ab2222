"""A namespace as the controller's tests have it: a fake API server, a fake deployment, and rounds that are run by hand."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from lightkube.config.kubeconfig import KubeConfig

from synfire.base.errors import TemporaryError
from synfire.kubernetes.cluster.api import Api
from synfire.kubernetes.cluster.kinds import path_of
from synfire.kubernetes.cluster.mirror import Mirror
from synfire.kubernetes.controller import serving, settings
from synfire.kubernetes.controller.controller import MADE, OF_DEPLOYMENTS, OURS
from synfire.kubernetes.controller.decide import decide
from synfire.kubernetes.controller.deployment import (
    Call,
    ClearTraffic,
    Deployed,
    Drain,
    DropChain,
    Hosted,
    JoinedWorker,
    Load,
    PutChain,
    ServedChain,
    ServedModel,
    Steer,
    Told,
    Unload,
)
from synfire.kubernetes.controller.hands import Hands
from synfire.kubernetes.controller.nodes import cordoned, lost
from synfire.kubernetes.controller.observed import Document, Key, Observed, Settings
from synfire.kubernetes.controller.troubles import UNMADE
from synfire.kubernetes.resources import API, KINDS
from synfire.testing.fake_kubernetes import FakeKubernetes
from synfire.testing.fake_stateful_sets import FakeStatefulSets
from synfire.wire.traffic import Rule, Share, TrafficCount

NOW = "2026-01-01T00:00:00Z"
MOST_ROUNDS = 20
MOST_STEPS = 60


def resource(kind: str, name: str, **spec: Any) -> Document:
    """A custom resource, as a user writes it."""
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name, "namespace": "default"}, "spec": spec}


class FakeDeployment:
    """Serves what it is asked for, on the workers that it has, at once: two stages for each model."""

    def __init__(self) -> None:
        self.up = False
        self.models: dict[str, ServedModel] = {}
        self.chains: dict[str, ServedChain] = {}
        self.traffic: dict[str, TrafficCount] = {}
        self.workers: list[str] = []
        self.silent: set[str] = set()
        """Workers that do not answer it."""

        self.needs = 0
        """How many workers its models could use."""

        self.told = True
        self.calls: list[Call] = []
        self.refuse: Callable[[Call], None] = lambda call: None

    async def look(self) -> Deployed:
        if not self.up:
            raise TemporaryError("the deployment does not answer")
        workers = {name: JoinedWorker(name, name not in self.silent, "http://10.0.0.1:8000") for name in self.workers}
        hosting = {stage.worker for model in self.models.values() for stage in model.stages}
        vacancies = {"cpu": self.needs - len(hosting)} if self.needs > len(hosting) else {}
        traffic = dict(self.traffic)
        return Deployed(
            dict(self.models), dict(self.chains), workers, traffic=traffic, told=self.told, vacancies=vacancies
        )

    async def carry_out(self, call: Call) -> None:
        if not self.up:
            raise TemporaryError("the deployment does not answer")
        self.refuse(call)
        self.calls.append(call)
        match call:
            case Load(model, request):
                self.models[model] = self._served(model, dict(request))
            case Unload(model):
                self.models.pop(model, None)
            case PutChain(chain, content):
                self.chains[chain] = ServedChain(chain, dict(content), True)
            case DropChain(chain):
                self.chains.pop(chain, None)
            case Steer(name, rule):
                sides = tuple(Share(*each) for each in rule["sides"].items())
                shadow = next((Share(*each) for each in rule["shadow"].items()), None)
                self.traffic[name] = TrafficCount(Rule(name, sides, shadow, tuple(rule.get("operators", ()))))
            case ClearTraffic(name):
                self.traffic.pop(name, None)
            case Told(_):
                self.told = True
            case Drain(_):
                pass

    def _served(self, model: str, request: dict[str, Any]) -> ServedModel:
        if not self.workers:
            return ServedModel(model, request, "waiting", "no worker has joined")
        stages = tuple(Hosted(f"fc{n}", self.workers[n % len(self.workers)], (f"fc{n}",)) for n in range(2))
        return ServedModel(model, request, "served", "", stages, request["replicas"], request["replicas"], "cpu")


class World:
    """A fake server and a fake deployment, and a controller's rounds, one after the other."""

    def __init__(self, server: FakeKubernetes, api: Api) -> None:
        self.server = server
        self.api = api
        self.sets = FakeStatefulSets(server)
        self.deployment = FakeDeployment()
        self.settings = Settings("synfire:0.1.0")
        self.hands = self.fresh_hands()

    def fresh_hands(self, api: Api | None = None) -> Hands:
        """As another controller has them, which knows nothing."""
        described = serving.description(Observed("default", self.settings, NOW))
        mirrors: dict[str, Mirror] = {}
        return Hands(api or self.api, "default", mirrors, self.deployment, described)

    async def observed(self, api: Api | None = None) -> Observed:
        """What a controller sees that lists everything now."""
        api = api or self.api
        asked: list[Document] = []
        for kind in KINDS:
            found, _ = await api.list(path_of(API, kind.name))
            asked += [{"apiVersion": API, "kind": kind.name, **each} for each in found]
        made: dict[Key, Document] = {}
        for kind_name, version in {**MADE, **_NEWER}.items():
            found, _ = await api.list(path_of(version, kind_name), OURS)
            made |= {
                Key(kind_name, each["metadata"]["name"]): {"apiVersion": version, "kind": kind_name, **each}
                for each in found
            }
        pods, _ = await api.list(path_of("v1", "Pod"), OF_DEPLOYMENTS)
        unmade, _ = await api.list(path_of("v1", "Event"), fields=f"reason={UNMADE}")
        nodes = self.server.all("nodes")
        try:
            deployed, silence = await self.deployment.look(), ""
        except TemporaryError as error:
            deployed, silence = None, str(error)
        found = [each for each in self.server.all("configmaps") if each["metadata"]["name"] == settings.NAME]
        settled, unsettled = settings.settled(self.settings, *(found or [None]))
        return Observed(
            "default",
            settled,
            NOW,
            tuple(asked),
            made,
            tuple(pods),
            cordoned(nodes),
            deployed,
            silence,
            settles=bool(found),
            unsettled=unsettled,
            unmade=tuple(unmade),
            lost=lost(nodes),
        )

    async def round(self) -> int:
        """One round; how much there was to do."""
        observed = replace(await self.observed(), refusals=dict(self.hands.refusals), has_keys=self.hands.has_keys)
        actions = decide(observed)
        await self.hands.carry_out(actions, lambda: True)
        return len(actions)

    async def settle(self) -> None:
        """Rounds until there is nothing to do, with Pods that start as soon as they are wanted."""
        for _ in range(MOST_STEPS):
            if not self.begin_pods() and not await self.round():
                return
        raise AssertionError(f"there is no end after {MOST_STEPS} steps: {decide(await self.observed())}")

    def begin_pods(self) -> bool:
        """What the StatefulSets' controller and kubelets do next. Returns whether there was anything to do."""
        done = self.sets.step()
        running = sorted(each["metadata"]["name"] for each in self.server.all("pods") if _runs(each))
        self.deployment.up = "synfire-0" in running
        self.deployment.workers = [name for name in running if name != "synfire-0"]
        if not self.deployment.up:
            self.deployment.models.clear()
        for name, each in self.deployment.models.items():
            if each.state == "waiting" and self.deployment.workers:
                self.deployment.models[name] = self.deployment._served(name, dict(each.request))
        return done

    def condition(self, plural: str, name: str, type_: str = "Ready") -> Document:
        """What an object says of itself."""
        status = self.server.get(plural, name)["status"]
        found: Document = next(each for each in status["conditions"] if each["type"] == type_)
        return found

    def content(self) -> dict[str, Any]:
        """Everything that is there, but for what differs from one time to the next: names by whom, versions, times."""
        kinds = [*(each.plural for each in KINDS), *_MADE_PLURALS]
        return {plural: sorted(map(_plain, self.server.all(plural)), key=repr) for plural in kinds}


def _runs(pod: Document) -> bool:
    return bool(pod.get("status", {}).get("phase", "Running") == "Running")


_NEWER = {"PodDisruptionBudget": "policy/v1", "HorizontalPodAutoscaler": "autoscaling/v2"}
_MADE_PLURALS = (
    "statefulsets",
    "services",
    "endpoints",
    "configmaps",
    "serviceaccounts",
    "networkpolicies",
    "poddisruptionbudgets",
    "persistentvolumeclaims",
    "jobs",
)
_FLEETING = ("uid", "resourceVersion", "creationTimestamp", "generation", "annotations")


def _plain(document: Document) -> Document:
    found = copy.deepcopy(document)
    for each in _FLEETING:
        found["metadata"].pop(each, None)
    for owner in found["metadata"].get("ownerReferences", ()):
        owner.pop("uid")
    for subset in found.get("subsets", ()):
        for address in subset["addresses"]:
            address.get("targetRef", {}).pop("uid", None)
    for condition in found.get("status", {}).get("conditions", ()):
        condition.pop("observedGeneration", None)
    found.get("status", {}).pop("observedGeneration", None)
    return found


def config_of(server: FakeKubernetes) -> Any:
    """How that server is reached."""
    clusters = [{"name": "fake", "cluster": {"server": server.url}}]
    contexts = [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}]
    users = [{"name": "fake", "user": {}}]
    return KubeConfig.from_dict(
        {"current-context": "fake", "clusters": clusters, "contexts": contexts, "users": users}
    ).get()


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    """For as long as a block lasts."""
    with FakeKubernetes().running() as server:
        async with Api(config_of(server)) as api:
            yield World(server, api)


Story = Callable[[World], Awaitable[None]]


def told(story: Story) -> None:
    """Run a story in a world of its own."""

    async def run() -> None:
        async with world() as here:
            await story(here)

    asyncio.run(run())


async def applied(here: World, *documents: Document) -> None:
    """Make the objects, and have the controller settle."""
    for each in documents:
        here.server.put(each)
    await here.settle()
