"""The blob store keeps what it was given, and says so when it no longer does."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synfire.base.errors import PermanentError, TemporaryError, UnknownName, UserError
from synfire.store import BlobStore, MirroredStore, write_atomically


@pytest.fixture(scope="module")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> BlobStore:
    return BlobStore(tmp_path_factory.mktemp("blobs"))


@given(content=st.binary(max_size=200))
def test_a_blob_comes_back_under_its_digest(shared_store: BlobStore, content: bytes) -> None:
    digest = shared_store.put(content)
    assert shared_store.get(digest) == content
    assert digest in shared_store
    assert digest in list(shared_store)


def test_equal_blobs_are_kept_once(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    assert store.put(b"weights") == store.put(b"weights")
    assert len(list(store)) == 1


def test_the_store_lies_in_synfire_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNFIRE_HOME", str(tmp_path))
    BlobStore().put(b"x")
    assert len(list((tmp_path / "blobs").glob("??/*"))) == 1


def test_a_corrupted_blob_is_refused_by_name(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    digest = store.put(b"weights")
    store.path(digest).write_bytes(b"weighty")
    with pytest.raises(PermanentError, match=f"blob {digest} is corrupted.*delete the file and import its model again"):
        store.get(digest)


def test_a_blob_that_was_never_stored_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="import its model again"):
        BlobStore(tmp_path).get("0" * 64)


@pytest.mark.parametrize("digest", ["../../etc/passwd", "A" * 64, "0" * 63, ""])
def test_what_is_no_digest_never_becomes_a_path(tmp_path: Path, digest: str) -> None:
    with pytest.raises(UserError, match="64 hexadecimal digits"):
        BlobStore(tmp_path).get(digest)
    assert digest not in BlobStore(tmp_path)


def test_deleting_twice_is_no_error(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    digest = store.put(b"x")
    store.delete(digest)
    store.delete(digest)
    assert digest not in store


@pytest.mark.parametrize(
    ("number", "error", "message"),
    [
        (errno.ENOSPC, TemporaryError, "no space left"),
        (errno.EACCES, UserError, "no permission.*SYNFIRE_HOME"),
        (errno.EROFS, UserError, "no permission"),
        (errno.EIO, UserError, "check the path and the disk"),
    ],
)
def test_a_disk_that_refuses_says_why_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception], message: str
) -> None:
    def refuse(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("synfire.store.files.os.fsync", refuse)
    with pytest.raises(error, match=message):
        write_atomically(tmp_path / "blob", b"x")
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_a_folder_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_text("in the way")
    with pytest.raises(UserError, match="blobs"):
        BlobStore(tmp_path / "blobs").put(b"x")


@pytest.mark.parametrize("copy", ["first", "mirror"])
def test_one_copy_of_two_may_decay(tmp_path: Path, copy: str) -> None:
    store = MirroredStore(tmp_path)
    digest = store.put(b"weights")
    hit = store if copy == "first" else store.mirror
    hit.path(digest).write_bytes(b"weightz")
    assert store.get(digest) == b"weights"
    assert BlobStore(tmp_path).get(digest) == b"weights"
    assert list(store) == [digest]


def test_a_copy_that_is_gone_comes_back(tmp_path: Path) -> None:
    store = MirroredStore(tmp_path)
    digest = store.put(b"weights")
    store.path(digest).unlink()
    assert store.get(digest) == b"weights"
    assert digest in store


def test_two_decayed_copies_are_an_error(tmp_path: Path) -> None:
    store = MirroredStore(tmp_path)
    digest = store.put(b"weights")
    for each in (store, store.mirror):
        each.path(digest).write_bytes(b"weightz")
    with pytest.raises(PermanentError, match="is corrupted"):
        store.get(digest)
