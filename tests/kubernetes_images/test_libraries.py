"""Libraries without their symbols load as they did, and nothing else is touched."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import xxhash
from xxhash import _xxhash

from synfire.kubernetes.images import libraries

LIBRARY = Path(_xxhash.__file__)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    return Path(shutil.copy(LIBRARY, tmp_path / LIBRARY.name))


def test_a_library_that_was_cut_computes_what_it_did(library: Path) -> None:
    libraries.cut(library)
    assert library.stat().st_size < LIBRARY.stat().st_size
    program = "import _xxhash; print(_xxhash.__file__); print(_xxhash.xxh3_64_hexdigest(b'spike'))"
    environment = {**os.environ, "PYTHONPATH": str(library.parent)}
    told = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    ).stdout.split()
    assert told == [str(library), xxhash.xxh3_64_hexdigest(b"spike")]


def test_what_is_left_of_a_library_is_what_was_there_but_for_its_sections(library: Path) -> None:
    before = library.read_bytes()
    libraries.cut(library)
    after = library.read_bytes()
    changed = {at for at, (old, new) in enumerate(zip(before, after, strict=False)) if old != new}
    assert changed <= {*range(40, 48), *range(60, 64)}
    assert not any(after[40:48] + after[60:64])
    libraries.cut(library)
    assert library.read_bytes() == after


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"INPUT(libthing.so.1)\n" * 8,
        LIBRARY.read_bytes()[:64],
        LIBRARY.read_bytes()[:1024],
        LIBRARY.read_bytes()[:4] + b"\x01" + LIBRARY.read_bytes()[5:],
    ],
    ids=["empty", "a linker's script", "only a header", "its beginning", "one of 32 bits"],
)
def test_what_is_no_whole_library_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "libthing.so").write_bytes(content)
    libraries.cut(tmp_path / "libthing.so")
    assert (tmp_path / "libthing.so").read_bytes() == content
