"""A mapped blob is shared memory that nobody can change, and that stays when its file goes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from synfire.base.errors import PermanentError, UnknownName
from synfire.store import BlobStore, MirroredStore
from synfire.store.mapping import MAPPED_BYTES, mapped

LARGE = bytes(range(256)) * (MAPPED_BYTES // 256)


def maps_of(path: Path) -> list[str]:
    return [line for line in Path("/proc/self/maps").read_text().splitlines() if str(path) in line]


@pytest.mark.parametrize("content", [b"", b"small", LARGE, LARGE + b"x"])
def test_a_mapped_blob_holds_what_was_stored(tmp_path: Path, content: bytes) -> None:
    store = BlobStore(tmp_path)
    found = store.map(store.put(content))
    assert found.tobytes() == content
    with pytest.raises(ValueError, match="read-only"):
        found[:] = 0


def test_a_large_blob_lies_in_the_page_cache_and_a_small_one_is_read(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    large, small = store.put(LARGE), store.put(b"small")
    held = store.map(large), store.map(small)
    assert len(maps_of(store.path(large))) == 1
    assert "r--s" in maps_of(store.path(large))[0]
    assert not maps_of(store.path(small))
    del held
    assert not maps_of(store.path(large))


def test_no_file_stays_open_for_what_is_mapped(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    digest = store.put(LARGE)
    before = len(list(Path("/proc/self/fd").iterdir()))
    held = [store.map(digest) for _ in range(50)]
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
    assert len(held) == 50


def test_what_is_mapped_stays_when_the_blob_is_deleted_or_decays(tmp_path: Path) -> None:
    store = MirroredStore(tmp_path, lasting=False)
    digest = store.put(LARGE)
    held = store.map(digest)
    view = held.view(np.float32)
    store.path(digest).unlink()
    again = store.map(digest)
    assert store.path(digest).exists(), "its other copy has taken its place"
    store.delete(digest)
    del held
    assert view.tobytes() == again.tobytes() == LARGE


def test_a_corrupted_blob_is_not_mapped(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    digest = store.put(LARGE)
    store.path(digest).write_bytes(LARGE[:-1] + b"x")
    with pytest.raises(PermanentError, match="import its model again"):
        store.map(digest)
    with pytest.raises(UnknownName, match="import its model again"):
        store.map("0" * 64)


def test_a_damaged_copy_is_mapped_from_the_other_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = MirroredStore(tmp_path)
    digest = store.put(LARGE)
    store.path(digest).write_bytes(b"x" * len(LARGE))
    assert store.map(digest).tobytes() == LARGE
    assert "its other copy is whole" in caplog.text
    assert BlobStore(tmp_path).get(digest) == LARGE


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        mapped(tmp_path / "nothing")
