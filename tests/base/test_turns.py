"""Short turns on a processor: who takes them, and what stays as it was."""

from __future__ import annotations

import subprocess
import sys

import pytest

from synfire.base import turns

granted = pytest.mark.skipif(
    subprocess.run([sys.executable, "-c", "from synfire.base import turns; exit(not turns.take_short())"]).returncode
    > 0,
    reason="this kernel has turns of one length (Linux before 6.12)",
)


def told(program: str, **options: object) -> str:
    """What a program prints that begins with everything imported."""
    whole = f"import os, threading\nfrom synfire.base import turns\n{program}"
    done = subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True, check=True, **options)  # type: ignore[call-overload]
    return str(done.stdout).strip()


@granted
def test_short_turns_are_taken_by_a_thread_and_all_that_it_begins():
    told_by = told(
        "before = turns.turn_s()\n"
        "turns.take_short()\n"
        "thread = threading.Thread(target=lambda: print(before > turns.turn_s() == turns.SHORT_S))\n"
        "thread.start()\n"
        "thread.join()"
    )
    assert told_by == "True"


@granted
def test_its_rank_stays():
    assert told("os.nice(3); turns.take_short(); print(os.nice(0), turns.turn_s() == turns.SHORT_S)") == "3 True"


def test_a_policy_that_somebody_has_chosen_stays():
    chosen = "os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))"
    assert told(f"{chosen}; print(turns.take_short(), os.sched_getscheduler(0) == os.SCHED_BATCH)") == "False True"


def test_a_machine_whose_calls_are_not_known_is_left_alone(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "abacus")
    assert (turns.take_short(), turns.turn_s()) == (False, None)


@granted
def test_turns_of_another_process_can_be_looked_at_while_it_is_there():
    child = subprocess.Popen(
        [sys.executable, "-c", "from synfire.base import turns; turns.take_short(); print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with child:
        assert child.stdout is not None
        child.stdout.readline()
        assert turns.turn_s(child.pid) == turns.SHORT_S
    assert turns.turn_s(child.pid) is None
