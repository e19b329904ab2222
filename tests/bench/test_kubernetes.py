"""The benchmark of what Kubernetes adds: what it counts, what it promises, and what it does to what it measures."""

from __future__ import annotations

import base64
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from synfire.base.errors import PermanentError, UserError
from synfire.bench import BENCHMARKS, Settings
from synfire.bench.benchmark import report
from synfire.bench.kubernetes import arms, benchmark, deployment, plain, ray
from synfire.bench.kubernetes import ground as grounds
from synfire.bench.kubernetes.ground import Document, Ground, container_of, require, restarts_of, until
from synfire.bench.kubernetes.subject import CUT, DELETE, KILL, MODEL, ROLLOUT, Aimed, Pace, Subject, job_of, under_load
from synfire.bench.kubernetes.trials import ALL, Trial, longest_s, rows
from synfire.bench.witness import LOST, RIGHT, WRONG, Case, Seen
from synfire.kubernetes.manifests.workers import ROLE
from synfire.testing.answering import handling


@pytest.mark.slow
def test_a_quick_run_of_the_controller_has_every_number_and_states_no_floor() -> None:
    found = BENCHMARKS["kubernetes"].measure(Settings(quick=True, only=("controller",)), lambda text: None)
    (row,) = found.rows
    assert row["objects"] > row["models"] * 20
    assert 0 < row["event_p50_s"] <= row["event_max_s"] < 60
    assert row["moved_max_s"] > 0
    assert row["memory_bytes"] > 2**20
    assert found.floors == ()


def caller(*asked: tuple[float, float, int]) -> Seen:
    """One who asked at these times, was answered at those, and so."""
    sent, ended, verdicts = zip(*asked, strict=True)
    return Seen(np.array(sent, float).tobytes(), np.array(ended, float).tobytes(), bytes(verdicts), 0, [])


def test_an_outage_is_the_time_between_two_right_answers() -> None:
    one = caller((0.0, 0.1, RIGHT), (0.1, 0.2, RIGHT), (0.2, 0.9, RIGHT), (0.9, 1.0, RIGHT))
    assert longest_s([one], (0.3, 0.4)) == pytest.approx(0.7)
    assert longest_s([one], (0.95, 2.0)) == pytest.approx(0.1)
    assert longest_s([one], (0.15, 0.95), within=True) == pytest.approx(0.7)
    assert longest_s([one], (0.15, 0.85), within=True) == 0.0
    other = caller((0.0, 0.1, RIGHT), (0.1, 1.4, RIGHT))
    assert longest_s([one, other], (0.3, 0.4)) == pytest.approx(1.3)


def test_errors_and_wrong_answers_in_between_make_an_outage_no_shorter() -> None:
    one = caller((0.0, 0.1, RIGHT), (0.1, 0.2, LOST), (0.2, 0.3, WRONG), (0.3, 0.4, RIGHT), (0.4, 0.5, RIGHT))
    assert longest_s([one], (0.15, 0.25)) == pytest.approx(0.3)


def test_an_outage_that_does_not_end_lasts_until_nobody_asks_any_more() -> None:
    one = caller((0.0, 0.1, RIGHT), (0.1, 0.2, LOST), (0.2, 2.1, LOST))
    assert longest_s([one], (0.15, 0.25)) == pytest.approx(2.0)
    assert longest_s([caller((0.0, 0.1, RIGHT))], (0.0, 1.0)) == 0.0


def test_quiet_is_compared_over_as_long_a_time_as_the_fault_lasted() -> None:
    one = Trial(KILL, "a", 10.0, 14.0, 14.5, 20.0)
    assert one.paired == (13.5, 14.0)
    assert replace(one, over_s=60.0).paired == (10.0, 14.0)


def test_there_is_a_row_for_each_kind_of_fault_and_one_for_all_of_them() -> None:
    every = caller(
        *[(t / 10, t / 10 + 0.1, RIGHT) for t in range(100)],
        (10.0, 10.1, LOST),
        (10.1, 10.6, RIGHT),
        *[(10.6 + t / 10, 10.7 + t / 10, RIGHT) for t in range(100)],
        (20.6, 20.7, WRONG),
    )
    done = [Trial(KILL, "a", 1.0, 3.0, 3.3, 5.0), Trial(DELETE, "b", 8.0, 9.95, 10.7, 12.0)]
    whole, killed, deleted = rows("pods", done, {"caller-0": every})
    assert [(each["fault"], each["trials"]) for each in (whole, killed, deleted)] == [(ALL, 2), (KILL, 1), (DELETE, 1)]
    assert (whole["requests"], whole["lost"], whole["wrong"], whole["duplicated"]) == (203, 1, 1, 0)
    assert (killed["lost"], deleted["lost"], deleted["wrong"]) == (0, 1, 0)
    assert [each["outage_p99_s"] for each in (whole, killed, deleted)] == pytest.approx([0.6, 0.1, 0.6])
    assert whole["quiet_outage_max_s"] == pytest.approx(0.1)
    assert whole["refill_outage_max_s"] == pytest.approx(0.1)
    assert deleted["during_max_s"] == pytest.approx(0.5)
    assert whole["outages_s"] == pytest.approx([0.1, 0.6])
    assert whole["targets"] == ["a", "b"]


def row(arm: str, **changes: Any) -> dict[str, Any]:
    found = {"lost": 0, "wrong": 0, "outage_p99_s": 0.4, "during_p99_s": 0.03, "quiet_p99_s": 0.02}
    return {"arm": arm, "fault": ALL, **found, **changes}


def test_each_part_states_its_floors_from_its_first_row() -> None:
    found = benchmark.floors(
        [
            *(row("pods"), row("pods", outage_p99_s=9.0)),
            row("nodes", wrong=1),
            row("upgrade", lost=2),
            row("plain", lost=7),
            {"arm": "spares", "ready_p50_s": 2.0, "ready_max_s": 9.0},
            {"arm": "controller", "event_max_s": 1.5},
            {"arm": "routing", "of": "model", "choice": "round robin", "p99_s": 2.0},
            {"arm": "routing", "of": "model", "choice": "least work", "p99_s": 1.0},
        ]
    )
    assert {each.name: (each.op, each.limit, round(each.value, 6), each.holds) for each in found} == {
        "pod_kill_outage_p99_ms": ("<=", 500, 400, True),
        "node_cut_outage_p99_ms": ("<=", 1500, 400, True),
        "k8s_lost": ("==", 0, 0, True),
        "k8s_wrong": ("==", 0, 1, False),
        "spare_pod_ready_s": ("<=", 3, 2.0, True),
        "upgrade_errors": ("==", 0, 2, False),
        "upgrade_p99_ratio": ("<=", 2, 1.5, True),
        "controller_event_s": ("<=", 1, 1.5, False),
        "routing_p99_ratio": ("<=", 0.6, 0.5, True),
    }


def test_what_was_not_measured_is_not_promised() -> None:
    assert [each.name for each in benchmark.floors([row("plain"), {"arm": "ray", "fault": "not installed"}])] == []
    assert [each.name for each in benchmark.floors([row("nodes")])][1:] == ["k8s_lost", "k8s_wrong"]


def test_the_page_has_a_curve_for_each_kind_of_fault() -> None:
    every = caller(*[(t / 10, t / 10 + 0.1, RIGHT) for t in range(100)])
    (one,) = rows("nodes", [Trial(CUT, "a", 1.0, 3.0, 3.3, 5.0)], {"caller-0": every})
    spare = {"arm": "spares", "fault": "one more", "trials": 1, "ready_p50_s": 2.0}
    measured = [one, spare, {"arm": "ray", "fault": "not installed"}]
    found = report("kubernetes", Settings(), {}, measured, benchmark.floors([one]))
    pages = BENCHMARKS["kubernetes"].documents(found)
    assert set(pages) == {"kubernetes.md", "kubernetes-outages.svg"}
    assert "| nodes | node cut | 1 | 100 | 0 | 0 | 0 |" in pages["kubernetes.md"]
    assert "| spares | one more | 2 s |" in pages["kubernetes.md"]
    assert "nodes: node cut (1)" in pages["kubernetes-outages.svg"]


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without an image, in which a cluster could be had."""
    for name in ("KUBECONFIG", grounds.IMAGE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(grounds, "impossible", lambda: "")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_an_image_it_says_how_to_make_one(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="`make images` makes one"):
        require(["pods"], arms.MACHINES)
    monkeypatch.setenv(grounds.IMAGE, str(nowhere / "none.tar"))
    with pytest.raises(UserError, match=r"none\.tar is no archive"):
        require(["pods"], arms.MACHINES)
    (nowhere / "none.tar").touch()
    require(["pods"], arms.MACHINES)


def test_where_no_cluster_can_be_had_it_says_why_and_what_can_be_measured(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grounds, "impossible", lambda: "emulated hosts need root")
    with pytest.raises(UserError, match=r"emulated hosts need root.*KUBECONFIG.*--only controller --only routing"):
        BENCHMARKS["kubernetes"].measure(Settings(only=("nodes",)), lambda text: None)


def test_machines_of_a_users_cluster_are_not_taken_away(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (nowhere / "config").touch()
    (nowhere / "kubectl").touch(0o755)
    monkeypatch.setenv("KUBECONFIG", str(nowhere / "config"))
    monkeypatch.setenv("PATH", str(nowhere))
    require(["pods", "plain"], arms.MACHINES)
    with pytest.raises(UserError, match=r"nodes: .*not ours to take away; unset it.*--only"):
        require(["pods", "nodes"], arms.MACHINES)


def test_ray_that_is_asked_for_and_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "installed", lambda: False)
    with pytest.raises(UserError, match=r"docs/serving\.md says how to make an environment"):
        BENCHMARKS["kubernetes"].measure(Settings(only=("ray",)), lambda text: None)


def test_what_does_not_come_about_is_said_with_what_was_last_heard() -> None:
    def away() -> bool:
        raise httpx.ConnectError("refused")

    with pytest.raises(PermanentError, match="peace did not come about within 0 s; last heard: refused"):
        until(away, "peace", 0.0, within_s=0.0)
    until(lambda: True, "peace", 0.0, within_s=0.0)


def pod(name: str, node: str = "node-0", container: str = "containerd://1", restarts: int = 0) -> Document:
    """A Pod that runs, as Kubernetes tells of it."""
    return {
        "metadata": {"name": name},
        "spec": {"nodeName": node},
        "status": {
            "podIP": f"10.0.0.{name[-1]}",
            "containerStatuses": [{"containerID": container, "restartCount": restarts}],
        },
    }


def test_a_container_that_has_not_begun_has_no_name_and_was_not_begun_again() -> None:
    assert (container_of(pod("p-1")), restarts_of(pod("p-1", restarts=2))) == ("containerd://1", 2)
    assert (container_of({"status": {}}), restarts_of({})) == ("", 0)


class Told:
    """A client of a cluster that has these objects, by kind or by kind and name. `said` is what it was told."""

    def __init__(self, objects: Mapping[str, Any]) -> None:
        self.objects = objects
        self.said: list[tuple[str, ...]] = []

    def __call__(self, *words: str, given: str = "") -> str:
        self.said.append(words)
        return ""

    def get(self, *words: str) -> dict[str, Any]:
        found: dict[str, Any] = self.objects[" ".join(each for each in words if not each.startswith("-"))]
        return found


def on(kubectl: Told, machines: Machines | None = None) -> Ground:
    return Ground(kubectl, "synfire:0", machines)  # type: ignore[arg-type]


class Struck(Subject):
    """Two Pods, of which the first has been begun again already."""

    every_s = 0.01
    patience_s = 1.0
    sets = ("statefulset/a", "statefulset/b")

    def whole(self) -> bool:
        return True

    def exposed(self) -> list[str]:
        return ["p-1", "p-2"]

    def without(self, pod: Document) -> bool:
        return True

    def expendable(self, pod: str) -> bool:
        return pod == "p-2"


class Machines:
    """Nodes that note what is done to them."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.nodes = dict.fromkeys(("node-0", "node-1"), self)

    def kill(self, pod: Document) -> None:
        self.done.append(f"kill {pod['metadata']['name']}")

    def cut(self) -> None:
        self.done.append("cut")

    def mend(self) -> None:
        self.done.append("mend")


def struck() -> tuple[Struck, Told, Machines]:
    kubectl = Told({"pod p-1": pod("p-1", restarts=1), "pod p-2": pod("p-2", "node-1")})
    machines = Machines()
    return Struck(on(kubectl, machines), "http://nowhere"), kubectl, machines


def test_a_pod_is_killed_once_and_then_deleted_since_kubernetes_would_wait() -> None:
    subject, kubectl, machines = struck()
    rng = random.Random(0)
    aims = {each.target: each for each in (subject.killed(rng) for _ in range(20))}
    assert {target: each.fault for target, each in aims.items()} == {"p-1": DELETE, "p-2": KILL}
    for each in aims.values():
        each.strike()
    assert machines.done == ["kill p-2"]
    assert kubectl.said == [("delete", "pod", "p-1", "--grace-period=0", "--wait=false")]


def test_in_a_users_cluster_pods_are_deleted_only() -> None:
    _, kubectl, _ = struck()
    theirs = Struck(on(kubectl), "http://nowhere")
    assert {theirs.killed(random.Random(seed)).fault for seed in range(9)} == {DELETE}
    with pytest.raises(PermanentError, match="not ours to take away"):
        theirs.cut(random.Random(0)).strike()


def test_the_node_that_is_cut_off_is_one_that_may_be_and_it_is_mended() -> None:
    subject, _, machines = struck()
    for seed in range(9):
        aimed = subject.cut(random.Random(seed))
        assert aimed.target == "p-2"
    aimed.strike()
    aimed.undo()
    assert machines.done == ["cut", "mend"]


def test_a_rollout_waits_for_each_set_before_the_next() -> None:
    subject, kubectl, _ = struck()
    aimed = subject.rolled()
    aimed.strike()
    assert aimed.fault == ROLLOUT
    assert [words[:3] for words in kubectl.said] == [
        ("rollout", "restart", "statefulset/a"),
        ("rollout", "status", "statefulset/a"),
        ("rollout", "restart", "statefulset/b"),
        ("rollout", "status", "statefulset/b"),
    ]


def asked(workers: list[dict[str, Any]], status: str = "served") -> deployment.Deployment:
    """A deployment that tells this of itself."""

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=workers if request.url.path == "/api/workers" else {"status": status})

    asking = httpx.Client(base_url="http://synfire", transport=httpx.MockTransport(answer))
    return deployment.Deployment(on(Told({})), "http://synfire", asking)


def worker(name: str, hosts: bool = False, **changes: Any) -> dict[str, Any]:
    plans = {MODEL: ["fc"]} if hosts else {}
    return {"name": name, "plans": plans, "joined": True, "ready": True, "status": "ready", "leaving": False} | changes


def test_a_deployment_is_whole_when_all_pods_are_counted_on_and_one_is_a_spare() -> None:
    pods = [worker("a", True), worker("b", True), worker("c")]
    assert asked(pods).whole()
    assert list(asked(pods).exposed()) == ["a", "b"]
    assert not asked(pods, "waiting").whole()
    assert not asked([worker("a", True), worker("b"), worker("c")]).whole()
    for changes in ({"ready": False}, {"status": "starting"}, {"leaving": True}, {"joined": False}):
        assert not asked([*pods[:2], worker("c", **changes)]).whole()


def test_a_lost_pod_is_made_good_when_nothing_is_planned_on_it() -> None:
    lost = pod("a-1")
    assert not asked([worker("a-1", True), worker("b-1", True)]).without(lost)
    assert not asked([worker("a-1", True, ready=False, status="")]).without(lost)
    assert asked([worker("a-1"), worker("b-1", True)]).without(lost)
    assert asked([worker("b-1", True)]).without(lost)


def test_synfire_is_deployed_as_its_controller_would_with_hosts_and_a_spare_that_is_apart() -> None:
    sets = {
        each["metadata"]["name"]: each for each in deployment.documents("synfire:0") if each["kind"] == "StatefulSet"
    }
    assert {name: each["spec"]["replicas"] for name, each in sets.items()} == {
        "synfire": 1,
        "synfire-hosts": deployment.HOSTS,
        "synfire-spares": deployment.SPARES,
    }
    assert sets["synfire-spares"]["spec"]["template"]["metadata"]["labels"][ROLE] == "spares"
    assert "requiredDuringSchedulingIgnoredDuringExecution" in str(
        sets["synfire-spares"]["spec"]["template"]["spec"]["affinity"]
    )
    assert "SYNFIRE_API_KEY" not in str(sets)
    assert {f"statefulset/{name}" for name in sets} - {"statefulset/synfire"} == set(deployment.Deployment.sets)


def beside(pods: list[Document], ready: int, addresses: list[str]) -> plain.Plain:
    status = {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "readyReplicas": ready}
    told = {
        "deployment plain": {"metadata": {"generation": 1}, "status": status},
        "pods": {"items": pods},
        "endpoints plain": {"subsets": [{"addresses": [{"ip": each} for each in addresses]}]},
    }
    return plain.Plain(on(Told(told)), "http://plain")


def test_plain_kubernetes_has_made_a_kill_good_when_others_are_ready() -> None:
    lost, other = pod("p-1"), pod("p-2", container="containerd://2")
    both = ["10.0.0.1", "10.0.0.2"]
    stale = beside([lost, other], 2, both)
    assert stale.whole()
    assert not stale.without(lost)
    assert beside([lost, other], 1, ["10.0.0.2"]).without(lost)
    assert beside([pod("p-1", container="containerd://3"), other], 2, both).without(lost)
    leaving = {**lost, "metadata": {"name": "p-1", "deletionTimestamp": "now"}}
    assert list(beside([leaving, other], 2, both).exposed()) == ["p-2"]
    assert not beside([leaving, other, pod("p-3", container="containerd://3")], 2, both).whole()


def test_plain_kubernetes_serves_the_whole_model_in_replicas_on_nodes_apart() -> None:
    _, service, made = plain.documents("synfire:0")
    spec = made["spec"]["template"]["spec"]
    assert made["spec"]["replicas"] == plain.REPLICAS
    assert spec["containers"][0]["command"][:3] == ["synfire", "serve", MODEL]
    assert spec["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert service["spec"]["selector"] == made["spec"]["template"]["metadata"]["labels"]


class Away(BaseHTTPRequestHandler):
    """A server of raw answers, which has none while it is `away`."""

    protocol_version = "HTTP/1.1"
    away = threading.Event()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(500 if self.away.is_set() else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def text(content: bytes) -> str:
    return base64.b64encode(content).decode()


class Soon(random.Random):
    """No fault is waited for."""

    def random(self) -> float:
        return 0.1


def test_faults_are_caused_while_callers_ask_and_undone_when_they_are_made_good() -> None:
    story: list[str] = []

    def aimed() -> Aimed:
        began_s = time.monotonic()

        def strike() -> None:
            story.append("struck")
            Away.away.set()

        def undo() -> None:
            story.append("undone")
            Away.away.clear()

        return Aimed(KILL, "it", strike, lambda: time.monotonic() > began_s + 0.4, undo)

    with handling(Away) as url:
        request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"
        job = job_of(url, [Case(text(request), text(b"hi"))], 0, 5.0)
        done, seen = under_load(
            job, lambda: story.append("whole"), [aimed, aimed], Pace(Soon(), 0.01, 0.0), lambda text: None
        )
    assert story == ["whole", "struck", "undone", "whole"] * 2
    (found,) = rows("pods", done, seen)
    assert found["lost"] > 0
    assert found["wrong"] == 0
    assert all(0.2 < each < 5 for each in found["outages_s"])


def test_replicas_of_ray_are_found_among_what_was_begun_and_nowhere_else() -> None:
    def named(name: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([name, "60"], executable="/bin/sleep")

    inner = f"import subprocess; subprocess.run(['{ray.REPLICA}:inner', '60'], executable='/bin/sleep')"
    begun = subprocess.Popen([sys.executable, "-c", inner])
    with named(f"{ray.REPLICA}:one") as one, named("ray::Other") as other, begun as outer:
        try:
            until(lambda: len(ray.replicas(outer.pid)) == 1, "the inner one", 0.02, within_s=30)
            (hidden,) = ray.replicas(outer.pid)
            mine = ray.replicas(os.getpid())
            assert {one.pid, hidden} <= set(mine)
            assert other.pid not in mine
            assert ray.replicas(one.pid) == []
        finally:
            for each in (*ray.replicas(outer.pid), one.pid, other.pid):
                subprocess.run(["kill", "-9", str(each)], check=True)
