"""Faults hit what they name, and nothing else."""

from __future__ import annotations

import dataclasses
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from synfire.base.errors import PermanentError, TemporaryError, UnknownName, UserError
from synfire.base.processes import born
from synfire.deploy.faults import FAULTS, Act, Grip, Options, Process, Scene, inject
from synfire.deploy.faults.fault import Fault
from synfire.deploy.folders import claimed, make_folder
from synfire.store import BlobStore, MirroredStore

COUNTING = "import sys\nwhile True: sys.stdout.write('.'), sys.stdout.flush(), sys.stdin.readline()"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SYNFIRE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Three processes that answer each line by a dot, as workers answer calls."""
    running = [
        subprocess.Popen([sys.executable, "-c", COUNTING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        for _ in range(3)
    ]
    for each in running:
        assert dot(each)
    yield running
    for each in running:
        each.kill()
        each.communicate()


@pytest.fixture
def scene(processes: list[subprocess.Popen[bytes]]) -> Scene:
    """Workers `w0` and `w1`, and a gateway `gateway-0`."""
    w0, w1, gateway = (
        Process(name, each.pid, born(each.pid)) for name, each in zip(("w0", "w1", "gateway-0"), processes, strict=True)
    )
    return Scene({"w0": w0, "w1": w1}, {"gateway-0": gateway})


def dot(process: subprocess.Popen[bytes], timeout_s: float = 10.0) -> bool:
    """Whether a dot comes."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], timeout_s)
    return bool(ready) and process.stdout.read(1) == b"."


def answers(process: subprocess.Popen[bytes], timeout_s: float = 10.0) -> bool:
    """Whether the process answers a line."""
    assert process.stdin is not None
    process.stdin.write(b"\n")
    return dot(process, timeout_s)


def stopped(process: subprocess.Popen[bytes]) -> bool:
    """Wait until the process is stopped, as a stop takes effect when the process would run again."""
    told = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    return told is not None and told.si_code == os.CLD_STOPPED


def told(kind: str, target: str = "", scene: Scene | None = None, **options: float) -> list[Act]:
    acts: list[Act] = []
    inject(kind, target, scene or Scene(), Options(**options), acts.append)
    return acts


@pytest.mark.parametrize("name", list(FAULTS))
def test_every_kind_says_what_it_does_and_what_it_stands_for(name: str) -> None:
    fault = FAULTS[name]
    assert isinstance(fault, Fault)
    assert fault.name == name
    assert fault.about
    assert fault.emulates
    assert set(fault.takes) <= {each.name for each in dataclasses.fields(Options)}


def test_the_page_has_all_kinds_in_its_table() -> None:
    page = (Path(__file__).parents[2] / "docs" / "faults.md").read_text()
    assert set(re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE)) >= set(FAULTS)


def test_kill_ends_the_named_worker_alone_and_says_whom_and_when(scene: Scene, processes: list) -> None:
    before_s = time.time()
    (act,) = told("worker-kill", "w1", scene)
    assert processes[1].wait(10) == -signal.SIGKILL
    assert (act.did, act.target, act.pid) == ("SIGKILL", "w1", processes[1].pid)
    assert before_s <= act.at_s <= time.time()
    assert answers(processes[0])
    assert answers(processes[2])


def test_unknown_worker_is_refused_with_those_that_run(scene: Scene, processes: list) -> None:
    with pytest.raises(UnknownName, match="no running worker named 'w7'; known: w0, w1"):
        told("worker-kill", "w7", scene)
    assert all(answers(each) for each in processes)


def test_worker_that_has_ended_is_no_target(scene: Scene, processes: list) -> None:
    processes[0].kill()
    processes[0].wait(10)
    with pytest.raises(UnknownName, match="known: w1"):
        told("worker-kill", "w0", scene)


def test_process_that_only_has_the_number_is_left_alone(processes: list) -> None:
    other = Process("w0", processes[0].pid, "12345")
    with pytest.raises(UnknownName, match="known: none"):
        told("worker-kill", "w0", Scene({"w0": other}))
    with pytest.raises(TemporaryError, match="synfire ps"):
        Grip(other)
    with pytest.raises(TemporaryError, match="synfire ps"):
        told("gateway-kill", "", Scene(roles={"gateway-0": Process("gateway-0", processes[0].pid, "")}))
    assert answers(processes[0])


def test_stopped_worker_stays_stopped(scene: Scene, processes: list) -> None:
    (act,) = told("worker-stop", "w0", scene)
    assert act.did == "SIGSTOP"
    assert stopped(processes[0])
    processes[0].send_signal(signal.SIGCONT)
    assert answers(processes[0])


def test_stop_for_a_time_lets_the_worker_go_on(scene: Scene, processes: list) -> None:
    first, last = told("worker-stop", "w0", scene, for_s=0.1)
    assert (first.did, last.did) == ("SIGSTOP", "SIGCONT")
    assert last.at_s - first.at_s >= 0.1
    assert answers(processes[0])


def test_stop_of_a_worker_that_is_killed_meanwhile_says_so(scene: Scene, processes: list) -> None:
    acts: list[Act] = []

    def tell(act: Act) -> None:
        acts.append(act)
        processes[0].kill()

    inject("worker-stop", "w0", scene, Options(for_s=60), tell)
    assert [act.did for act in acts] == ["SIGSTOP", "no SIGCONT: it has ended"]


def test_interrupted_stop_leaves_nobody_stopped(scene: Scene, processes: list) -> None:
    def interrupt(act: Act) -> None:
        if act.did == "SIGSTOP":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        inject("worker-stop", "w0", scene, Options(for_s=60), interrupt)
    assert answers(processes[0])


def test_slow_worker_answers_and_is_free_afterwards(scene: Scene, processes: list) -> None:
    first, last = told("worker-slow", "w0", scene, for_s=0.2, share=0.5)
    assert first.did == "slowed to 0.5 of the time"
    assert last.did.startswith("runs freely again after ")
    assert 1 <= int(last.did.split()[-2]) <= 11
    assert answers(processes[0])


def test_lost_host_takes_all_its_workers(scene: Scene, processes: list) -> None:
    acts = told("host-lost", "w0, w1", scene)
    assert [act.target for act in acts] == ["w0", "w1"]
    assert [each.wait(10) for each in processes[:2]] == [-signal.SIGKILL] * 2
    assert answers(processes[2])


def test_lost_host_with_an_unknown_worker_takes_nobody(scene: Scene, processes: list) -> None:
    with pytest.raises(UnknownName, match="w9"):
        told("host-lost", "w0,w1,w9", scene)
    assert all(answers(each) for each in processes)


@pytest.mark.parametrize("target", ["", "gateway-0"])
def test_gateway_can_be_killed(target: str, scene: Scene, processes: list) -> None:
    (act,) = told("gateway-kill", target, scene)
    assert act.pid == processes[2].pid
    assert processes[2].wait(10) == -signal.SIGKILL
    with pytest.raises(UserError, match="no gateway process"):
        told("gateway-kill")


def test_which_of_two_gateways_has_to_be_said(scene: Scene, processes: list) -> None:
    two = Scene(roles={**scene.roles, "gateway-1": Process("gateway-1", processes[0].pid, born(processes[0].pid))})
    with pytest.raises(UserError, match="has 2 gateways; name one of gateway-0, gateway-1"):
        told("gateway-kill", "", two)
    with pytest.raises(UnknownName, match="no gateway named 'gateway-2'"):
        told("gateway-kill", "gateway-2", two)
    (act,) = told("gateway-kill", "gateway-1", two)
    assert act.pid == processes[0].pid
    assert answers(processes[2])


def test_controller_can_be_killed(scene: Scene, processes: list) -> None:
    controller = Process("controller", processes[0].pid, born(processes[0].pid))
    (act,) = told("controller-kill", "", Scene(roles={**scene.roles, "controller": controller}))
    assert (act.target, act.pid) == ("controller", processes[0].pid)
    assert answers(processes[2])


@pytest.mark.parametrize(
    ("kind", "target", "options", "cure"),
    [
        ("worker-melt", "w0", {}, "known: blob-corrupt, "),
        ("worker-kill", "", {}, "needs a target: a worker's name"),
        ("gateway-kill", "w0", {}, "no gateway named 'w0'"),
        ("controller-kill", "w0", {}, "leave out 'w0'"),
        ("worker-kill", "w0", {"for_s": 1.0}, r"it is for disk-full, .*worker-slow, worker-stop"),
        ("worker-stop", "w0", {"share": 0.5}, "it is for worker-slow"),
        ("worker-stop", "w0", {"for_s": 0.0}, "above 0"),
        ("worker-slow", "w0", {"share": 1.0}, "below 1"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_changed(
    kind: str, target: str, options: dict[str, float], cure: str, scene: Scene, processes: list
) -> None:
    with pytest.raises(UserError, match=cure):
        told(kind, target, scene, **options)
    assert all(answers(each) for each in processes)


def test_corrupted_blob_is_noticed_and_a_second_time_restored() -> None:
    store = BlobStore()
    digest, other = store.put(b"spikes" * 100), store.put(b"weights")
    (act,) = told("blob-corrupt", digest[:10])
    assert act.target == digest
    assert act.pid is None
    assert "byte 300 from 0x73 to 0x8c" in act.did
    with pytest.raises(PermanentError, match="is corrupted"):
        store.get(digest)
    assert store.get(other) == b"weights"
    told("blob-corrupt", digest[:10])
    assert store.get(digest) == b"spikes" * 100


def test_blob_of_a_running_deployment_is_hit_and_its_readers_go_on() -> None:
    deployment = uuid.uuid4().hex[:8]
    with claimed(deployment):
        folder = make_folder(deployment)
        try:
            store = MirroredStore(folder / "blobs")
            digest = store.put(b"spikes" * 100)
            told("blob-corrupt", digest[:10])
            with pytest.raises(PermanentError, match="is corrupted"):
                BlobStore(store.root).get(digest)
            assert store.get(digest) == b"spikes" * 100
        finally:
            shutil.rmtree(folder)


def test_blob_must_be_one() -> None:
    store = BlobStore()
    digests = [store.put(bytes([i])) for i in range(20)]
    first = next(a[0] for a in digests if sum(b[0] == a[0] for b in digests) > 1)
    with pytest.raises(UserError, match="give more digits"):
        told("blob-corrupt", first)
    with pytest.raises(UnknownName, match=r"no blob in .* named 'xyz'"):
        told("blob-corrupt", "xyz")
    assert all(store.get(digest) == bytes([i]) for i, digest in enumerate(digests))


def test_disk_that_others_use_is_not_filled(home: Path) -> None:
    with pytest.raises(UserError, match="nothing runs under"):
        told("disk-full", for_s=0.1)
    home.mkdir()
    with pytest.raises(UserError, match="Mount a small one there first"):
        told("disk-full", for_s=0.1)
    assert list(home.iterdir()) == []


FULL = """
import errno, os, sys
from pathlib import Path
from synfire.deploy.faults import Options, Scene, inject
home = Path(os.environ["SYNFIRE_HOME"])

def tell(act):
    try:
        (home / "file").write_bytes(bytes(8192))
        print("written")
    except OSError as error:
        print(errno.errorcode[error.errno])

inject("disk-full", "", Scene(), Options(for_s=0.01), tell)
print(sorted(each.name for each in home.iterdir()))
"""


def test_full_disk_refuses_writes_and_is_freed_again(home: Path) -> None:
    home.mkdir()
    alone = [shutil.which("unshare") or "unshare", "--user", "--map-root-user", "--mount"]
    mount = 'mount -t tmpfs -o size=1m tmpfs "$SYNFIRE_HOME"'
    try:
        able = subprocess.run([*alone, "sh", "-c", mount], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        able = False
    if not able:
        pytest.skip("this machine does not let us mount a file system of our own")
    done = subprocess.run(
        [*alone, "sh", "-c", f'{mount} && exec "$0" -c "$1"', sys.executable, FULL],
        capture_output=True, text=True, check=False, env={**os.environ},
    )  # fmt: skip
    assert done.stdout.splitlines() == ["ENOSPC", "written", "['file']"], done.stderr
