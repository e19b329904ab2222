"""What a killed deployment left is removed, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from synfire.base.processes import born
from synfire.deploy.folders import Claim, claimed, sweep


@pytest.fixture(autouse=True)
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of run folders; temporary files have one beside it."""
    monkeypatch.setenv("SYNFIRE_HOME", str(tmp_path / "home"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    return tmp_path / "home" / "run"


def dead() -> Claim:
    """The claim of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        return Claim(process.pid, born(process.pid))


def claim(run: Path, deployment: str, claim: Claim) -> list[Path]:
    folders = [run / deployment, run.parents[1] / "temporary" / f"synfire-{deployment}"]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "w0.sock").touch()
    (run / f"{deployment}.claim").write_bytes(msgspec.json.encode(claim))
    return folders


def test_folders_of_a_dead_process_are_removed(run: Path) -> None:
    folders = claim(run, "old", dead())
    sweep()
    assert not any(folder.exists() for folder in folders)
    assert list(run.iterdir()) == []


def test_folders_of_a_number_that_was_given_away_are_removed(run: Path) -> None:
    folders = claim(run, "old", Claim(os.getpid(), "0"))
    sweep()
    assert not any(folder.exists() for folder in folders)


def test_folders_of_a_living_process_and_unclaimed_ones_stay(run: Path) -> None:
    folders = claim(run, "mine", Claim(os.getpid(), born(os.getpid())))
    (run / "nobodys").mkdir()
    sweep()
    assert all(folder.exists() for folder in folders)
    assert (run / "nobodys").exists()


def test_a_claim_lasts_as_long_as_its_block_and_begins_with_a_sweep(run: Path) -> None:
    claim(run, "old", dead())
    with claimed("new"):
        assert [file.name for file in run.iterdir()] == ["new.claim"]
        sweep()
        assert [file.name for file in run.iterdir()] == ["new.claim"]
    assert list(run.iterdir()) == []


def test_what_others_are_to_keep_stays_until_the_next_one_begins(run: Path) -> None:
    left = dead()
    folders = claim(run, "old", Claim(left.pid, left.born, lasts=True))
    sweep()
    assert all(folder.exists() for folder in folders)
    with claimed("new"):
        assert not any(folder.exists() for folder in folders)
