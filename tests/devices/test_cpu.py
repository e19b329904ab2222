from __future__ import annotations

import os
from pathlib import Path

import pytest

from synfire.base.errors import UnknownName
from synfire.devices import DEVICES, cpu


def test_the_cpu_says_what_it_is() -> None:
    described = DEVICES["cpu"].describe()
    assert described.model
    assert described.cores == len(os.sched_getaffinity(0))
    assert described.memory_bytes > 2**20


def test_features_are_those_that_kernels_are_chosen_by() -> None:
    assert set(DEVICES["cpu"].describe().features) <= set(cpu.FEATURES)


def test_memory_is_that_of_the_control_group_where_it_is_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_file", lambda self: True)
    monkeypatch.setattr(Path, "read_text", lambda self: "1000000\n")
    assert cpu._memory_bytes() == 1_000_000


def test_without_a_limit_memory_is_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_file", lambda self: True)
    monkeypatch.setattr(Path, "read_text", lambda self: "max\n")
    assert cpu._memory_bytes() == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_an_unknown_device_is_refused_with_those_that_exist() -> None:
    with pytest.raises(UnknownName, match="known: cpu"):
        DEVICES["abacus"]
