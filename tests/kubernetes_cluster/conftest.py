"""The cluster of these tests: the user's own where `KUBECONFIG` names one, else one that is brought up for them."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from synfire.base.errors import PermanentError
from synfire.testing.kubernetes import Cluster, Kubectl, impossible

sys.path.insert(0, str(Path(__file__).parent))  # what is beside this file is imported by its path

from deployed import CONTROLLER, SYSTEM, Deployment, deployed

NODES = 3


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A cluster of ours, with a node for each Pod of a deployment with two spares, for tests that take machines away."""
    if reason := impossible():
        pytest.skip(reason)
    if os.environ.get("KUBECONFIG"):
        pytest.skip("KUBECONFIG names a cluster of the user's, whose machines are not ours to take away")
    with Cluster(NODES) as made:
        yield made


@pytest.fixture(scope="session")
def provided(cluster: Cluster) -> Cluster:
    """The same, and its nodes have synfire's image."""
    if not (given := os.environ.get("SYNFIRE_IMAGE")):
        pytest.skip("SYNFIRE_IMAGE names no archive of the image; `make images` makes one")
    cluster.load(Path(given))
    return cluster


@pytest.fixture(scope="session")
def administrator(request: pytest.FixtureRequest) -> Kubectl:
    """For one who may do everything in the cluster."""
    if os.environ.get("KUBECONFIG"):
        return Kubectl.of_user()
    made: Cluster = request.getfixturevalue("cluster")
    return made.kubectl


@pytest.fixture
def kubectl(administrator: Kubectl) -> Iterator[Kubectl]:
    """The same in a namespace of the test's own."""
    namespace = f"synfire-test-{uuid.uuid4().hex[:8]}"
    administrator("create", "namespace", namespace)
    yield administrator.within(namespace)
    administrator("delete", "namespace", namespace, "--wait=false")


@pytest.fixture(scope="session")
def controller(provided: Cluster) -> Kubectl:
    """The controller of custom resources as it is rendered, and its namespace; somebody answers for custom metrics."""
    provided.measure()
    words = ["--controller", "--render", "--option", "--cpu-request 100m"]
    rendered = subprocess.run(
        [sys.executable, "-m", "synfire", "deploy", "kubernetes", *words], capture_output=True, text=True, check=True
    )
    kubectl = provided.kubectl.within(SYSTEM)
    kubectl("apply", "--filename=-", given=rendered.stdout)
    try:
        kubectl("rollout", "status", f"deployment/{CONTROLLER}", "--timeout=300s")
    except PermanentError:
        print(kubectl("describe", "pods"), kubectl("logs", f"deployment/{CONTROLLER}", "--tail=50"))
        raise
    return kubectl


@pytest.fixture(scope="session")
def deployment(controller: Kubectl, provided: Cluster) -> Iterator[Deployment]:
    """What many tests share, until the last one of `test_resources.py` takes it away. The rest goes with the cluster."""
    with deployed(controller, provided) as found:
        yield found
