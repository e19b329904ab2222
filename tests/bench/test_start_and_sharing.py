"""The benchmarks of starting and sharing: what they make, what they count, and a smoke run of each."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest

from synfire.base.errors import PermanentError
from synfire.bench import BENCHMARKS, Report, Settings
from synfire.bench.command import _share_bytes, commanded
from synfire.bench.sharing import HEAD, Variants
from synfire.bench.start import ALONE, ANSWER, FORK, SIDE_BY_SIDE, TEMPLATE


def ran(name: str) -> Report:
    return BENCHMARKS[name].measure(Settings(quick=True), lambda text: None)


def test_variants_differ_in_their_heads_alone(tmp_path: Path) -> None:
    variants = Variants.write(tmp_path, 3, seed=1)
    first, *others = variants.graphs.values()
    assert variants.heads_bytes == 2 * first.operator(HEAD).parameter_bytes
    for graph in others:
        assert {
            name for name in graph if graph.operator(name).content_digest() != first.operator(name).content_digest()
        } == {HEAD}
    weights = [graph.operator(HEAD).parameters()["weight"] for graph in variants.graphs.values()]
    assert len({each.tobytes() for each in weights}) == 3
    assert {each.name for each in tmp_path.iterdir()} == set(variants.graphs)


def test_memory_is_counted_by_shares_and_that_of_an_ended_process_is_none() -> None:
    before = _share_bytes(os.getpid())
    with mmap.mmap(-1, 1 << 25) as held:  # pages of its own, whatever the allocator has lying about
        held.write(bytes([1]) * len(held))
        assert _share_bytes(os.getpid()) - before > len(held) // 2
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pid = ended.pid
    assert _share_bytes(pid) == 0


def test_a_command_that_does_not_serve_says_why() -> None:
    with pytest.raises(PermanentError, match="no-such-model"), commanded(["no-such-model"]):
        pass


@pytest.mark.slow
def test_a_quick_run_of_sharing_compares_answers_and_states_no_floors() -> None:
    found = ran("sharing")
    assert [row["variants"] for row in found.rows] == [1, 3]
    assert found.rows[1]["compared"] == 3
    assert all(row["memory_bytes"] > 1 << 26 and row["p50_s"] > 0 for row in found.rows)
    assert all(row["q1_p50_s"] <= row["p50_s"] <= row["q3_p50_s"] for row in found.rows)
    assert found.rows[1]["p50_ratio"] == found.settings["p50_ratio"]
    assert found.floors == ()


@pytest.mark.slow
def test_a_quick_run_of_start_times_commands_and_spares() -> None:
    found = ran("start")
    seconds = {row["what"]: row["median_s"] for row in found.rows}
    assert 0 < seconds[FORK] < 60
    assert 0 < seconds[ANSWER] < 120
    assert all(0 < seconds[what] < 60 for what in (*ALONE, TEMPLATE, SIDE_BY_SIDE))
    least, *_, most = (seconds[what] for what in ALONE)
    assert least < most, "what serve loads takes longer than nothing"
    assert found.floors == ()
