"""How soon the controller acts when thousands of objects are there, and what it takes for them.

The controller is `synfire controller`, a process of its own; the API server is one made for tests, over HTTP, and so is the deployment: what
is measured is the controller. All models are in one namespace, which is the worst case.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from synfire.base.errors import PermanentError
from synfire.bench.benchmark import Progress
from synfire.kubernetes.resources import API
from synfire.testing.fake_deployment import FakeDeployment
from synfire.testing.fake_kubernetes import FakeKubernetes, pods_of

MODELS, STAGES, WORKERS = 1000, 10, 8
EVENTS = 20
STEADY_S = 900.0
ANSWER_S = 60.0

_CONFIG = """
apiVersion: v1
kind: Config
current-context: fake
clusters: [{{name: fake, cluster: {{server: "{url}"}}}}]
contexts: [{{name: fake, context: {{cluster: fake, user: fake, namespace: default}}}}]
users: [{{name: fake, user: {{}}}}]
"""


def measured(quick: bool, progress: Progress) -> dict[str, Any]:
    """Its row. Raises `PermanentError` where the controller ends, or does not get there."""
    models, events = (20, 3) if quick else (MODELS, EVENTS)
    with FakeKubernetes().running() as server, FakeDeployment(WORKERS, STAGES).running() as deployment:
        _apply(server, models)
        began_s = time.monotonic()
        with _controller(server, deployment) as process:
            progress(f"{models} models are begun")
            _until(lambda: _ready(server) == models, STEADY_S, process)
            steady_s = time.monotonic() - began_s
            wrote = len(server.asked)
            memory = _memory_bytes(process.pid)
            found = []
            for number in range(events):
                progress(f"event {number + 1} of {events}")
                found.append(_event(server, deployment, f"late-{number}", process))
            moved = [_moved(server, deployment, f"m-{number}", process) for number in range(events)]
            return {
                "arm": "controller",
                "fault": "",
                "models": models,
                "objects": server.count("services") + server.count("endpoints") + models,
                "api_requests": wrote,
                "steady_s": steady_s,
                "memory_bytes": memory,
                "event_p50_s": statistics.median(found),
                "event_max_s": max(found),
                "moved_p50_s": statistics.median(moved),
                "moved_max_s": max(moved),
            }


def _apply(server: FakeKubernetes, models: int) -> None:
    """The objects of a user, and Pods as soon as they are wanted."""
    server.put(_resource("SynfirePool", "hosts", count=WORKERS))
    for number in range(models):
        server.put(_resource("SynfireModel", f"m-{number}", source="svgg-digits", granularity="operator"))
    template = {"metadata": {"labels": {"app.kubernetes.io/name": "synfire", "synfire.dev/pool": "hosts"}}, "spec": {}}
    spec = {"replicas": WORKERS, "template": template}
    for each in pods_of({"metadata": {"name": "synfire-hosts", "namespace": "default"}, "spec": spec}):
        server.put(each)


def _resource(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name, "namespace": "default"}, "spec": spec}


@contextmanager
def _controller(server: FakeKubernetes, deployment: FakeDeployment) -> Iterator[subprocess.Popen[bytes]]:
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config"
        config.write_text(_CONFIG.format(url=server.url))
        command = ["controller", "--namespace", "default", "--reach", deployment.url, "--keyless"]
        environment = {**os.environ, "KUBECONFIG": str(config)}
        with subprocess.Popen(
            [sys.executable, "-m", "synfire", *command], env=environment, stdout=subprocess.DEVNULL
        ) as process:
            try:
                yield process
            finally:
                process.terminate()


def _ready(server: FakeKubernetes) -> int:
    """How many models say that they are ready, with a Service that leads somewhere for each stage."""
    ready = server.count("synfiremodels", lambda each: each.get("status", {}).get("phase") == "Ready")
    ends = server.count("endpoints", lambda each: bool(each.get("subsets")))
    return min(ready, ends // STAGES)


def _event(server: FakeKubernetes, deployment: FakeDeployment, name: str, process: subprocess.Popen[bytes]) -> float:
    """From an object that a user makes until the deployment is asked for it."""
    began_s = time.monotonic()
    server.put(_resource("SynfireModel", name, source="svgg-digits"))
    _until(lambda: name in deployment.loaded, ANSWER_S, process)
    return deployment.loaded[name] - began_s


def _moved(server: FakeKubernetes, deployment: FakeDeployment, name: str, process: subprocess.Popen[bytes]) -> float:
    """From stages that the deployment has moved until their Services lead there. It is asked once a second, and less often the longer it
    takes to answer."""
    began_s = time.monotonic()
    deployment.move(name, 0)

    def there() -> bool:
        found = server.get("endpoints", f"{name}--fc{STAGES - 1}")["subsets"][0]["addresses"]
        return bool(found[0]["targetRef"]["name"] == "synfire-hosts-0")

    _until(there, ANSWER_S, process)
    return time.monotonic() - began_s


def _until(holds: Callable[[], bool], within_s: float, process: subprocess.Popen[bytes]) -> None:
    """Wait for what the controller brings about. Raises `PermanentError` when it does not."""
    ends_s = time.monotonic() + within_s
    while not holds():
        if process.poll() is not None:
            raise PermanentError(f"the controller ended with {process.returncode}; its last words are above")
        if time.monotonic() > ends_s:
            raise PermanentError(
                f"the controller did not get there within {within_s:g} s; `SYNFIRE_LOG=debug` tells more"
            )
        time.sleep(0.02 if within_s == ANSWER_S else 0.5)


def _memory_bytes(pid: int) -> int:
    """What the process holds."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise PermanentError(f"process {pid} has no memory; it has ended")
