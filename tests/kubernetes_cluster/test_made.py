"""What the controller makes of custom resources is taken by a real API server, and is then as it was wanted: nothing is put right for ever."""

from __future__ import annotations

import asyncio
import copy
from dataclasses import replace
from typing import Any

import pytest
from lightkube.config.kubeconfig import KubeConfig

from synfire.kubernetes.cluster.api import Api
from synfire.kubernetes.cluster.kinds import path_of
from synfire.kubernetes.controller.decide import FINALIZER, decide
from synfire.kubernetes.controller.decision import Create, Tell
from synfire.kubernetes.controller.deployment import Deployed, Hosted, JoinedWorker, ServedModel
from synfire.kubernetes.controller.objects import is_as
from synfire.kubernetes.controller.observed import Document, Observed, Offers, Settings
from synfire.kubernetes.resources import API
from synfire.testing.kubernetes import Kubectl

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

UID = "11111111-1111-1111-1111-111111111111"
AS_MADE = ("PersistentVolumeClaim",)
"""Kinds that the server writes otherwise, and the controller leaves as they were made."""


def asked(kind: str, name: str, namespace: str, **spec: Any) -> Document:
    metadata = {"name": name, "namespace": namespace, "uid": UID, "generation": 1, "finalizers": [FINALIZER]}
    return {"apiVersion": API, "kind": kind, "metadata": metadata, "spec": spec}


def observed(namespace: str, offers: Offers) -> Observed:
    """Pools of every form, a cache, and a model whose stages are at a worker and nowhere."""
    bears = {"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}
    resources = (
        asked("SynfirePool", "hosts", namespace, autoscale={"most": 4}, cpuRequest="100m", tolerations=[bears]),
        asked("SynfirePool", "spares", namespace, role="spares", device="darwin3", cache="store"),
        asked("SynfirePool", "more", namespace, autoscale={"most": 4, "metric": "queued", "target": "500m"}),
        asked("SynfireCache", "store", namespace, models=["svgg-digits", "hf://org/repo"], size="1.5Gi"),
        asked("SynfirePool", "wrong", namespace, device="tpu"),
        asked("SynfireModel", "digits", namespace),
    )
    stages = (Hosted("features.3", "synfire-hosts-0", (), "digits"), Hosted("fc", "elsewhere", (), "digits"))
    served = {"digits": ServedModel("digits", {}, "served", "", stages)}
    workers = {"synfire-hosts-0": JoinedWorker("synfire-hosts-0", True, "http://10.0.0.9:8000")}
    settings = Settings("synfire:0.1.0", storage_bytes=2**30)
    deployed = Deployed(served, {}, workers)
    return Observed(namespace, settings, "2026-01-01T00:00:00Z", resources, deployed=deployed, offers=offers)


def made(namespace: str, offers: Offers) -> list[Create | Tell]:
    """Everything that is made: the serving Pod only where no cache is being warmed."""
    whole = observed(namespace, offers)
    without = replace(whole, asked=tuple(each for each in whole.asked if each["kind"] != "SynfireCache"))
    found = {str(each): each for each in (*decide(whole), *decide(without)) if isinstance(each, Create | Tell)}
    return list(found.values())


async def taken(api: Api, namespace: str, action: Create | Tell) -> None:
    wanted = copy.deepcopy(action.document)
    wanted["metadata"]["namespace"] = namespace
    path = path_of(wanted["apiVersion"], wanted["kind"], namespace)
    seen = await api.ask("POST", path, wanted, {"dryRun": "All"})
    if isinstance(action, Create) and wanted["kind"] not in AS_MADE:
        assert is_as(wanted, seen), (wanted, seen)


def test_the_server_takes_what_the_controller_makes_and_it_is_as_wanted(kubectl: Kubectl) -> None:
    async def story() -> int:
        versions = kubectl("api-versions").split()
        budgets = next(each for each in ("policy/v1", "policy/v1beta1") if each in versions)
        scalers = next(each for each in ("autoscaling/v2", "autoscaling/v2beta2") if each in versions)
        actions = made(kubectl.namespace, Offers(budgets, scalers, True, True))
        config = KubeConfig.from_file(kubectl.kubeconfig).get()
        assert config is not None
        async with Api(config) as api:
            for each in actions:
                await taken(api, kubectl.namespace, each)
        return len(actions)

    assert asyncio.run(story()) > 20
