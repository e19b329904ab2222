"""Workers that have joined are begun anew, one after the other, as a rollout of Pods does: the processes of `synfire worker`, under load."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx

from synfire.base.errors import PermanentError
from synfire.bench.arms.arm import ARMS, Arm, Chapter, Conditions, Outcome
from synfire.bench.arms.deployed import GRANULARITY, PATIENCE_S, cases_of
from synfire.bench.benchmark import Progress, floor
from synfire.bench.kubernetes.trials import Trial, rows
from synfire.bench.page import table
from synfire.bench.witness import Job, witness
from synfire.graph import flatten
from synfire.graph.passes import simplify
from synfire.zoo import load

MODEL = "svgg-digits"

HOSTS, SPARES = ("host-1", "host-0"), ("reserve-0",)
"""The workers, in the order in which a rollout begins them anew: a StatefulSet's last Pod is the first to go."""

ROLLOUTS = 5

CALLERS = 4
"""Connections, each with one request at a time."""

PAUSE_S = 0.02
"""Between a caller's requests: callers without a pause would take the processors on which workers are begun."""

QUIET_S = 20.0
"""The quiet before each rollout, with callers: as many requests as a p99 takes."""

LOOK_S = 0.05
"""How often it is looked at whether all are there."""

READY_S = 2.0
"""How often a worker is asked whether it is ready, as the manifests have Kubernetes do."""

LEAVE_S = 60.0
"""How long a worker may take to leave, as Kubernetes allows it."""

COLUMNS = (
    *("arm", "family", "trials", "requests", "lost", "wrong", "duplicated", "quiet_p50_s", "quiet_p99_s"),
    *("during_p50_s", "during_p99_s", "outage_p50_s", "outage_max_s", "quiet_outage_max_s", "over_p50_s"),
)


class Rollout(Arm):
    """A deployment without workers of its own, two hosts and a spare that join it. Each is told to leave, and when it has ended another one
    of its name is begun; when that says that it is ready it is the next one's turn."""

    name = "rollout"
    about = "workers that have joined are begun anew, one after the other, as a rollout of Pods does"

    def measure(self, conditions: Conditions, progress: Progress) -> Outcome:
        trials = 1 if conditions.quick else ROLLOUTS
        with ground() as all_of_it:
            all_of_it.until_whole()
            cases = cases_of(simplify(flatten(load(MODEL))), MODEL, all_of_it.url)
            job = Job(all_of_it.url, {f"caller-{n}": cases for n in range(CALLERS)}, conditions.seed, pause_s=PAUSE_S)
            with witness(job) as under_way:
                done = []
                for number in range(trials):
                    progress(f"{self.name}: {number + 1} of {trials}")
                    done.append(_trial(all_of_it, 1.0 if conditions.quick else QUIET_S))
                seen = under_way.stop()
        found = {**rows(self.name, done, seen)[0], "family": MODEL}
        complaints = tuple(f"{name}: {each}" for name, one in seen.items() for each in one.complaints)
        harm = (floor(f"{self.name}_{name}", "==", 0, found[name]) for name in ("lost", "wrong", "duplicated"))
        return Outcome((found,), tuple(harm), complaints)

    def chapter(self, rows: Sequence[Mapping[str, Any]]) -> Chapter | None:
        mine = [row for row in rows if row["arm"] == self.name]
        words = (
            f"{len(HOSTS)} hosts and {len(SPARES)} spare, each a `synfire worker` on this machine, are begun anew one after the other, while "
            f"{CALLERS} callers ask, each {1e3 * PAUSE_S:.0f} ms after its last answer. `quiet` are requests of the {QUIET_S:.0f} s before each "
            "rollout, `during` those while it lasts (`over`). An outage is the longest time without a right answer of any caller.\n"
        )
        return Chapter(frozenset({self.name}), ("## Workers begun anew\n", words, table(mine, COLUMNS)), {})


ARMS.add(Rollout.name, Rollout())


class Ground:
    """The deployment at `url`, and the workers that have joined at its `door`."""

    def __init__(self, url: str, door: str, environment: Mapping[str, str]) -> None:
        self.url = url
        self._door = door
        self._environment = environment
        self._asking = httpx.Client(base_url=f"{url}/api", timeout=PATIENCE_S, trust_env=False)
        self._workers: dict[str, subprocess.Popen[bytes]] = {}

    def begin(self, *names: str) -> None:
        """Begin these workers, all at the same time, and wait until they have joined and say that they are ready."""
        places = {name: f"127.0.0.1:{_free_port()}" for name in names}
        for name, place in places.items():
            role = "spare" if name in SPARES else "host"
            words = [
                "--join",
                self._door,
                "--name",
                name,
                "--group",
                name,
                "--role",
                role,
                "--http",
                place,
                "--threads",
                "1",
            ]
            self._workers[name] = _begun("worker", *words, environment=self._environment)
        for name, place in places.items():
            _said(self._workers[name])
            while not self._ready(f"http://{place}/v2/health/ready"):
                time.sleep(READY_S)

    def roll(self) -> None:
        """Begin all of them anew, one after the other. Raises `PermanentError` for one that does not leave."""
        for name in (*HOSTS, *SPARES):
            old = self._workers[name]
            old.terminate()
            try:
                old.wait(LEAVE_S)
            except subprocess.TimeoutExpired:
                raise PermanentError(f"worker {name} was told to leave, and has not within {LEAVE_S:.0f} s") from None
            self.begin(name)

    def serve(self) -> None:
        """Have the model served, spread over the hosts."""
        wish = {"source": MODEL, "granularity": GRANULARITY, "workers": len(HOSTS)}
        self._asking.put(f"/deployment/models/{MODEL}", json=wish).raise_for_status()

    def until_whole(self) -> None:
        """Wait until the model is served by the hosts alone, and all are there. Raises `PermanentError` when that takes too long."""
        until_s = time.monotonic() + PATIENCE_S
        while not self._whole():
            if time.monotonic() > until_s:
                raise PermanentError(f"not all workers were back within {PATIENCE_S:.0f} s: {self._members()}")
            time.sleep(LOOK_S)

    def close(self) -> None:
        """End all workers."""
        for each in self._workers.values():
            each.terminate()
        for each in self._workers.values():
            each.wait()
        self._asking.close()

    def _ready(self, url: str) -> bool:
        """Whether it says so; one that has died meanwhile is begun again by `synfire worker`, and is asked again."""
        try:
            return self._asking.get(url).is_success
        except httpx.TransportError:
            return False

    def _whole(self) -> bool:
        members = self._members()
        hosting = sorted(name for name, hosts in members.items() if hosts)
        served = self._asked(f"/deployment/models/{MODEL}")["status"] == "served"
        return served and hosting == sorted(HOSTS) and len(members) == len((*HOSTS, *SPARES))

    def _members(self) -> dict[str, bool]:
        """Who is counted on, and whether each hosts a stage."""
        found = [each for each in self._asked("/workers") if each["ready"] and not each["leaving"]]
        return {each["name"]: bool(each["plans"]) for each in found}

    def _asked(self, path: str) -> Any:
        return self._asking.get(path).raise_for_status().json()


@contextmanager
def ground() -> Iterator[Ground]:
    """The deployment with its workers, for the block; nothing is left of it."""
    with ExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory(prefix="sf"))
        environment = {**os.environ, "SYNFIRE_HOME": home, "SYNFIRE_JOIN_TOKEN": secrets.token_hex(32)}
        ports = ("--join", "127.0.0.1:0", "--port", "0", "--grpc-port", "0")
        serving = _begun("serve", "--workers", "0", *ports, environment=environment)
        stack.callback(serving.wait)
        stack.callback(serving.terminate)
        said = _said(serving)
        found = Ground(said["url"], said["join"]["address"], environment)
        stack.callback(found.close)
        found.serve()
        found.begin(*HOSTS, *SPARES)
        yield found


def _trial(all_of_it: Ground, quiet_s: float) -> Trial:
    all_of_it.until_whole()
    began_s = time.monotonic()
    time.sleep(quiet_s)
    at_s = time.monotonic()
    all_of_it.roll()
    all_of_it.until_whole()
    over_s = time.monotonic()
    return Trial("rollout", ", ".join((*HOSTS, *SPARES)), began_s, at_s, over_s, over_s)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _begun(*words: str, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "synfire", *words, "--json"], env=dict(environment), stdout=subprocess.PIPE
    )


def _said(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """The next line that it prints. Raises `PermanentError` where it ends before that."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise PermanentError(f"a process of the rollout ended with exit code {process.wait()}; see what it said above")
    found: dict[str, Any] = json.loads(line)
    if "error" in found:
        raise PermanentError(f"a process of the rollout says: {found['error']}")
    return found
