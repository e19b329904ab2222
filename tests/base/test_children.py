"""What the template forks is as good as what a new interpreter runs, and a template that is gone is missed by nobody."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from synfire.base.children import Child, Template, spawned
from synfire.deploy.launch import Launch
from synfire.deploy.process import WorkerProcess

MODULE = "synfire.worker"
WRONG = [sys.executable, "-m", MODULE, "--name", "w", "--listen", "unix:/nowhere/at/all.sock", "--settings", "no JSON"]
"""A worker that refuses what it is told: it says why, and leaves with 2."""


@pytest.fixture(scope="module")
def template() -> Iterator[Template]:
    made = Template.begin()
    select.select([made], [], [])
    yield made
    made.close()


def words_of(child: Child) -> bytes:
    assert child.stderr is not None
    with child.stderr:
        return child.stderr.read()


def threads_of(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


@pytest.mark.slow
def test_a_fork_says_and_ends_as_a_new_interpreter_does(template: Template) -> None:
    forked, fresh = template.start(WRONG, ()), spawned(WRONG, ())
    assert type(forked) is not type(fresh)
    assert words_of(forked) == words_of(fresh) != b""
    assert forked.wait() == fresh.wait() == 2


def test_the_template_has_one_thread_and_stays_that_way(template: Template) -> None:
    assert threads_of(template.pid) == 1
    template.start(WRONG, ()).wait()
    assert threads_of(template.pid) == 1


def test_a_forked_worker_is_our_child_in_a_group_of_its_own_under_its_own_command_line(
    template: Template, tmp_path: Path
) -> None:
    async def live() -> None:
        launch = Launch("w7", "d", f"unix:{tmp_path}/w7.sock")
        process = WorkerProcess.start(launch, template.start)
        said = await process.ready(60.0)
        words = Path(f"/proc/{process.pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        assert said.pid == process.pid != template.pid
        assert words[:5] == [os.fsencode(sys.executable), b"-m", MODULE.encode(), b"--name", b"w7"]
        assert os.getpgid(process.pid) == process.pid
        assert int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[1]) == os.getpid()
        process.kill()
        assert await process.end(10.0) == -signal.SIGKILL

    asyncio.run(live())


@pytest.mark.slow
def test_a_worker_outlives_the_template_and_another_one_is_begun(tmp_path: Path) -> None:
    async def live() -> None:
        template = Template.begin()
        select.select([template], [], [])
        process = WorkerProcess.start(Launch("w", "d", f"unix:{tmp_path}/w.sock"), template.start)
        await process.ready(60.0)
        first = template.pid
        os.kill(first, signal.SIGKILL)
        os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
        fresh = template.start(WRONG, ())
        assert b"--settings is no JSON object" in words_of(fresh)
        assert fresh.wait() == 2
        assert template.pid != first
        assert not process.ended
        template.close()
        process.terminate()
        assert await process.end(10.0) == 0

    asyncio.run(live())


@pytest.mark.slow
def test_a_template_that_is_renewed_is_loaded_anew_and_what_it_has_begun_goes_on(tmp_path: Path) -> None:
    async def live() -> None:
        template = Template.begin()
        select.select([template], [], [])
        process = WorkerProcess.start(Launch("w", "d", f"unix:{tmp_path}/w.sock"), template.start)
        await process.ready(60.0)
        first = template.pid
        template.renew()
        assert template.pid != first
        meanwhile = template.start(WRONG, ())
        select.select([template], [], [])
        forked = template.start(WRONG, ())
        assert type(forked) is not type(meanwhile)
        assert words_of(forked) == words_of(meanwhile) != b""
        assert forked.wait() == meanwhile.wait() == 2
        assert not process.ended
        template.close()
        process.terminate()
        assert await process.end(10.0) == 0

    asyncio.run(live())


def test_a_command_that_is_no_module_of_ours_runs_as_it_is(template: Template) -> None:
    child = template.start(["sh", "-c", "echo here >&2; exit 3"], ())
    assert words_of(child) == b"here\n"
    assert child.wait() == 3


def test_a_fork_gets_descriptors_under_the_numbers_that_were_named(template: Template, tmp_path: Path) -> None:
    async def live() -> None:
        kept = [os.open("/dev/null", os.O_RDONLY) for _ in range(3)]
        process = WorkerProcess.begin(
            "w", Launch("w", "d", f"unix:{tmp_path}/w.sock").command, keeps=kept, start=template.start
        )
        await process.ready(60.0)
        assert all(os.readlink(f"/proc/{process.pid}/fd/{each}") == "/dev/null" for each in kept)
        process.kill()
        await process.end(10.0)
        for each in kept:
            os.close(each)

    asyncio.run(live())
