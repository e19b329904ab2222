from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from synfire.base import paths
from synfire.cli import main
from synfire.formats import write_bundle

sys.path.insert(0, str(Path(__file__).parent))

from served import tiny  # beside this file, which is imported by its path

# Every test has a SYNFIRE_HOME of its own; compiled kernels are kept from one to the next.
os.environ.setdefault("NUMBA_CACHE_DIR", str(paths.cache() / "numba"))


@dataclass(frozen=True)
class Ran:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A SYNFIRE_HOME of the test's own."""
    monkeypatch.setenv("SYNFIRE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Runs the command line in this process."""

    def call(*arguments: str) -> Ran:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        captured = capsys.readouterr()
        return Ran(int(ended.value.code or 0), captured.out, captured.err)

    return call


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A small model as a bundle folder called `tiny`."""
    write_bundle(tiny(), tmp_path / "tiny")
    return tmp_path / "tiny"
