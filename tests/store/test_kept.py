"""What a machine keeps of others' weights: taken piece by piece, gone on with, mended, and pruned."""

from __future__ import annotations

import hashlib
import os

import pytest

from synfire.base.errors import UserError
from synfire.store.kept import LATE_S, KeptBlobs

CONTENT = bytes(range(256)) * 4
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNFIRE_CACHE", str(tmp_path))


def test_pieces_become_a_blob_and_nothing_is_taken_twice_or_out_of_turn():
    blobs = KeptBlobs()
    assert blobs.take(DIGEST, len(CONTENT), 0, b"") == 0
    assert blobs.take(DIGEST, len(CONTENT), 0, CONTENT[:300]) == 300
    assert blobs.take(DIGEST, len(CONTENT), 0, CONTENT[:300]) == 300
    assert blobs.take(DIGEST, len(CONTENT), 900, CONTENT[900:]) == 300
    assert KeptBlobs().take(DIGEST, len(CONTENT), 300, CONTENT[300:]) == len(CONTENT)
    assert blobs.get(DIGEST) == CONTENT
    assert blobs.take(DIGEST, len(CONTENT), 0, b"") == len(CONTENT)


def test_other_bytes_than_the_digest_says_are_not_kept():
    blobs = KeptBlobs()
    with pytest.raises(UserError, match="nothing of it is kept"):
        blobs.take(DIGEST, len(CONTENT), 0, CONTENT[::-1])
    assert DIGEST not in blobs
    assert blobs.take(DIGEST, len(CONTENT), 0, b"") == 0


def test_a_blob_that_has_decayed_is_taken_anew():
    blobs = KeptBlobs()
    blobs.take(DIGEST, len(CONTENT), 0, CONTENT)
    blobs.path(DIGEST).write_bytes(b"rust")
    assert blobs.take(DIGEST, len(CONTENT), 0, b"") == 0
    assert blobs.take(DIGEST, len(CONTENT), 0, CONTENT) == len(CONTENT)
    assert blobs.get(DIGEST) == CONTENT


def test_an_empty_blob_is_one():
    empty = hashlib.sha256(b"").hexdigest()
    assert KeptBlobs().take(empty, 0, 0, b"") == 0
    assert empty in KeptBlobs()


def test_the_longest_unused_make_room_but_for_what_was_used_of_late():
    blobs, now_s = KeptBlobs(), 1e9
    digests = [blobs.put(bytes([n]) * 100) for n in range(4)]
    for age_s, digest in zip((3 * LATE_S, 2 * LATE_S, 4 * LATE_S, 0.0), digests, strict=True):
        os.utime(blobs.path(digest), (now_s - age_s, now_s - age_s))
    assert blobs.prune(250, now_s) == 200
    assert sorted(blobs) == sorted([digests[1], digests[3]])
    assert blobs.prune(0, now_s) == 100
    assert list(blobs) == [digests[3]]


def test_use_is_noted():
    blobs = KeptBlobs()
    digest = blobs.put(CONTENT)
    os.utime(blobs.path(digest), (0, 0))
    blobs.map(digest)
    assert blobs.prune(0) == len(CONTENT)
