"""Large blobs come in piece by piece, and go on where they were broken off."""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synfire.base.errors import TemporaryError, UserError
from synfire.store import BlobStore
from synfire.store.incoming import STALE_S, Incoming, WrongDigest, put_file, sweep

CONTENT = bytes(range(256)) * 40
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


def parts(blobs: BlobStore) -> list[str]:
    return sorted(file.name for file in (blobs.root / "incoming").glob("*"))


@given(cuts=st.lists(st.integers(0, len(CONTENT)), max_size=4))
def test_a_blob_is_what_was_written_however_often_it_was_broken_off(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    blobs = BlobStore(tmp_path_factory.mktemp("blobs"))
    edges = [0, *sorted(cuts), len(CONTENT)]
    for start, end in itertools.pairwise(edges):
        with Incoming(blobs, DIGEST) as incoming:
            assert incoming.size == start
            incoming.write(CONTENT[start:end])
    with Incoming(blobs, DIGEST) as incoming:
        assert incoming.finish(DIGEST) == DIGEST
    assert blobs.get(DIGEST) == CONTENT
    assert parts(blobs) == []


def test_nothing_is_seen_of_a_blob_before_it_is_whole(blobs: BlobStore) -> None:
    with Incoming(blobs, DIGEST) as incoming:
        incoming.write(CONTENT[:100])
    assert DIGEST not in blobs
    assert list(blobs) == []
    assert parts(blobs) == [DIGEST]


def test_other_bytes_than_announced_are_not_kept(blobs: BlobStore) -> None:
    with Incoming(blobs, DIGEST) as incoming:
        incoming.write(CONTENT[:-1] + b"x")
        with pytest.raises(WrongDigest, match="nothing of it is kept"):
            incoming.finish(DIGEST)
    assert list(blobs) == parts(blobs) == []


def test_what_it_came_from_is_remembered_until_it_is_whole(blobs: BlobStore) -> None:
    with Incoming(blobs, DIGEST) as incoming:
        assert incoming.validator == ""
        incoming.restart('"etag"')
        incoming.write(CONTENT)
    with Incoming(blobs, DIGEST) as incoming:
        assert incoming.validator == '"etag"'
        incoming.finish()
    assert parts(blobs) == []


def test_a_full_disk_keeps_what_came_and_says_what_to_do(blobs: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write

    def full(handle: int, piece: memoryview) -> int:
        if os.fstat(handle).st_size >= 1000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(handle, piece[:500])

    with Incoming(blobs, DIGEST) as incoming:
        with monkeypatch.context() as patch:
            patch.setattr("synfire.store.incoming.os.write", full)
            with pytest.raises(TemporaryError, match="no space left there; free some"):
                incoming.write(CONTENT)
        assert incoming.size == 1000
    with Incoming(blobs, DIGEST) as incoming:
        incoming.write(CONTENT[incoming.size :])
        incoming.finish(DIGEST)
    assert blobs.get(DIGEST) == CONTENT


def test_a_killed_process_leaves_what_it_wrote_and_no_lock(blobs: BlobStore) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from synfire.store import BlobStore; from synfire.store.incoming import Incoming\n"
        "incoming = Incoming(BlobStore(Path(sys.argv[1])), sys.argv[2]).__enter__()\n"
        "incoming.write(bytes(range(256)))\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(blobs.root), DIGEST], timeout=60, check=False)
    assert done.returncode == -9
    with Incoming(blobs, DIGEST) as incoming:
        assert incoming.size == 256
        incoming.write(CONTENT[256:])
        incoming.finish(DIGEST)
    assert blobs.get(DIGEST) == CONTENT


def test_a_second_process_waits_and_finds_the_blob(blobs: BlobStore) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from synfire.store import BlobStore; from synfire.store.incoming import Incoming\n"
        "blobs = BlobStore(Path(sys.argv[1]))\n"
        "with Incoming(blobs, sys.argv[2], lambda: print('waits', flush=True)) as incoming:\n"
        "    print(incoming.size, sys.argv[2] in blobs)"
    )
    with Incoming(blobs, DIGEST) as incoming:
        incoming.write(CONTENT)
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(blobs.root), DIGEST], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "waits\n"
        incoming.finish(DIGEST)
    said, _ = process.communicate(timeout=60)
    assert said == "0 True\n"
    assert parts(blobs) == []


def test_a_file_is_copied_once(blobs: BlobStore, tmp_path: Path) -> None:
    file, told = tmp_path / "weights", [0]
    file.write_bytes(CONTENT)
    assert put_file(blobs, file, told.append) == put_file(blobs, file) == DIGEST
    assert sum(told) == len(CONTENT)
    assert blobs.get(DIGEST) == CONTENT
    file.write_bytes(b"changed")
    assert blobs.get(DIGEST) == CONTENT, "the blob is no link to the file"


def test_a_file_that_is_not_there_is_named(blobs: BlobStore, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no-such-file"):
        put_file(blobs, tmp_path / "no-such-file")


def test_what_is_no_digest_never_becomes_a_path(blobs: BlobStore) -> None:
    with pytest.raises(UserError, match="64 hexadecimal digits"):
        Incoming(blobs, "../../etc/passwd")


def test_what_was_never_finished_goes_after_a_week_unless_it_is_being_written(blobs: BlobStore) -> None:
    other, young = "1" * 64, "2" * 64
    for key in (DIGEST, young):
        with Incoming(blobs, key) as incoming:
            incoming.write(b"some")
    with Incoming(blobs, other) as incoming:
        incoming.write(b"some")
        old = time.time() - STALE_S - 60
        for key in (DIGEST, other):
            os.utime(blobs.root / "incoming" / key, (old, old))
        sweep(blobs)
        assert parts(blobs) == [other, young]
