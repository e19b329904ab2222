"""Machine code that was kept is used if it is whole, and nothing that becomes of it does harm."""

from __future__ import annotations

import errno
import logging
from pathlib import Path

import numba
import pytest
from numba.core import caching

from synfire.base import machine_code
from synfire.base.compiled import compiled
from synfire.base.telling import told_to


def doubled(x: int) -> int:
    return 2 * x


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where machine code is kept."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(machine_code, "_told", set())
    return tmp_path


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(logging.getLogger("synfire"), "propagate", True)
    return caplog


def compilations(number: int = 21) -> int:
    """How many functions a new process would compile to double a number, which it does right."""
    told: list[str] = []
    with told_to(lambda which, what, share: told.append(what) if share is None else None):
        assert compiled(doubled)(number) == 2 * number
    return len(told)


def kept(folder: Path) -> Path:
    (file,) = folder.rglob("*.code")
    return file


def test_what_was_compiled_once_is_found(folder: Path) -> None:
    assert [compilations(), compilations(), compilations()] == [1, 0, 0]
    assert [each.suffix for each in folder.rglob("*") if each.is_file()] == [".code"]


@pytest.mark.parametrize("position", [0, 31, 32, 63, 64, 500, -1])
def test_a_flipped_bit_anywhere_is_told_and_compiled_again(
    folder: Path, position: int, warned: pytest.LogCaptureFixture
) -> None:
    compilations()
    content = bytearray(kept(folder).read_bytes())
    content[position] ^= 1
    kept(folder).write_bytes(content)
    assert compilations() == 1
    assert f"{kept(folder)} is damaged; compiling it again" in warned.text
    assert compilations() == 0


@pytest.mark.parametrize("left", [0, 10, 64, 500])
def test_a_file_that_was_cut_short_is_compiled_again(folder: Path, left: int, warned: pytest.LogCaptureFixture) -> None:
    compilations()
    kept(folder).write_bytes(kept(folder).read_bytes()[:left])
    assert compilations() == 1
    assert "is damaged" in warned.text
    assert compilations() == 0


def test_a_folder_in_a_files_place_is_told(folder: Path, warned: pytest.LogCaptureFixture) -> None:
    compilations()
    file = kept(folder)
    file.unlink()
    file.mkdir()
    assert [compilations(), compilations()] == [1, 1]
    assert "cannot be read" in warned.text
    assert warned.text.count("set SYNFIRE_CACHE to a folder that can be written") == 1


def test_what_other_source_gave_is_not_used(folder: Path, warned: pytest.LogCaptureFixture) -> None:
    key = ("int64", "x86", "bytecode")
    machine_code._Files(folder, "f", ("1.0", 1)).save(key, "code")
    assert machine_code._Files(folder, "f", ("1.0", 1)).load(key) == "code"
    assert machine_code._Files(folder, "f", ("1.0", 2)).load(key) is None
    assert machine_code._Files(folder, "f", ("1.0", 1)).load(("int64", "x86", "another bytecode")) is None
    assert machine_code._Files(folder, "f", ("1.0", 1)).load(("int64", "arm", "bytecode")) is None
    assert warned.text == ""


def test_a_full_disk_costs_time_and_is_told_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, warned: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert [compilations(), compilations()] == [1, 1]
    assert warned.text.count("No space left on device); every start compiles it again: set SYNFIRE_CACHE") == 1
    assert [each for each in folder.rglob("*") if each.is_file()] == []


def test_where_there_is_no_place_at_all_functions_run_all_the_same(
    monkeypatch: pytest.MonkeyPatch, warned: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    assert [compilations(), compilations()] == [1, 1]
    assert warned.text.count("set SYNFIRE_CACHE to a folder that can be written") == 1
