"""Named models appear whole or not at all, and take with them only what nothing else needs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from synfire.base.errors import UnknownName, UserError
from synfire.store import BlobStore, Layer, ModelName, ModelStore
from synfire.store.layers import (
    CONFIG,
    GGUF,
    MODEL_FILE,
    SYSTEM,
    decode_manifest,
    encode_manifest,
    layer_of,
    manifest_of,
)

NAME, OTHER = ModelName("shake"), ModelName("shake", "other")


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "home")


def references(digest: str, blobs: BlobStore) -> Iterable[str]:
    return [layer.sha256 for layer in decode_manifest(blobs.get(digest), "here").blobs]


def manifest(store: ModelStore, *contents: bytes) -> bytes:
    """A manifest whose blobs are in the store."""
    layers = [layer_of(GGUF, content) for content in contents]
    for content in (b"{}", *contents):
        store.blobs.put(content)
    return encode_manifest(manifest_of(layer_of(CONFIG, b"{}"), layers))


def test_a_committed_model_is_found_with_its_manifest(store: ModelStore) -> None:
    made = store.commit(NAME, manifest(store, b"weights"), "here")
    assert made is not None
    assert store.find(NAME) == made
    assert [layer.size for layer in store.manifest(made.manifest).layers] == [7]
    assert [str(each.name) for each in store.names()] == ["shake:latest"]


def test_looking_at_no_store_makes_none(store: ModelStore) -> None:
    assert store.names() == []
    assert store.find(NAME) is None
    assert not store.home.exists()


@pytest.mark.parametrize("damage", ["gone", "short"])
def test_a_model_with_a_missing_blob_is_not_committed(store: ModelStore, damage: str) -> None:
    content = manifest(store, b"weights")
    path = store.blobs.path(layer_of(GGUF, b"weights").sha256)
    path.unlink() if damage == "gone" else path.write_bytes(b"weigh")
    assert store.commit(NAME, content, "here") is None
    assert store.find(NAME) is None


def test_removing_takes_only_what_no_other_model_needs(store: ModelStore) -> None:
    store.commit(NAME, manifest(store, b"shared", b"own"), "here")
    store.commit(OTHER, manifest(store, b"shared", b"other's"), "here")
    removed = store.remove(NAME, references)
    assert removed.blobs == 2
    assert store.find(NAME) is None
    assert not store.missing(store.manifest(store.one(OTHER).manifest))
    assert layer_of(GGUF, b"own").sha256 not in store.blobs
    store.remove(OTHER, references)
    assert list(store.blobs) == []


def test_a_copy_keeps_everything_when_the_first_name_goes(store: ModelStore) -> None:
    store.commit(NAME, manifest(store, b"weights"), "here")
    store.copy(NAME, OTHER)
    assert store.remove(NAME, references).blobs == 0
    assert not store.missing(store.manifest(store.one(OTHER).manifest))


def test_an_unknown_model_is_answered_with_the_known_ones(store: ModelStore) -> None:
    store.commit(NAME, manifest(store, b"weights"), "here")
    for act in (lambda: store.one(OTHER), lambda: store.remove(OTHER, references), lambda: store.copy(OTHER, NAME)):
        with pytest.raises(UnknownName, match="known: shake:latest"):
            act()


def test_a_name_is_of_a_graph_or_of_weights(store: ModelStore) -> None:
    store.commit(NAME, manifest(store, b"weights"), "here")
    with pytest.raises(UserError, match=r"model of another kind.*choose another name"):
        store.catalog.add("shake", "1" * 64)
    store.catalog.add("net", "1" * 64)
    with pytest.raises(UserError, match="is an imported graph; choose another name"):
        store.commit(ModelName("net", "q8"), manifest(store, b"weights"), "here")


def test_what_a_killed_removal_left_goes_with_the_next_one(store: ModelStore) -> None:
    store.commit(NAME, manifest(store, b"first"), "here")
    store.commit(OTHER, manifest(store, b"second"), "here")

    class Killed(BaseException):
        pass

    def killed(digest: str, blobs: BlobStore) -> Iterable[str]:
        raise Killed

    with pytest.raises(Killed):
        store.remove(NAME, killed)
    assert store.find(NAME) is None
    store.remove(OTHER, references)
    assert list(store.blobs) == []


def test_a_damaged_manifest_can_be_removed(store: ModelStore) -> None:
    made = store.commit(NAME, manifest(store, b"weights"), "here")
    assert made is not None
    store.blobs.path(made.manifest).write_bytes(b"no manifest")
    store.remove(NAME, references)
    assert store.names() == []


def test_removing_waits_until_what_is_being_added_has_its_name(store: ModelStore, tmp_path: Path) -> None:
    """Another process removes the only model that has a blob, while this one makes a model of that blob."""
    store.commit(NAME, manifest(store, b"shared"), "here")
    code = (
        "import sys; from pathlib import Path; from synfire.hub.garbage import references\n"
        "from synfire.store import ModelName, ModelStore\n"
        "print('ready', flush=True)\n"
        "print(ModelStore(Path(sys.argv[1])).remove(ModelName('shake'), references).blobs)"
    )
    with store.adding():
        content = manifest(store, b"shared", b"more")
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(store.home)], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        store.blobs.put(content)
        store.catalog.tag(OTHER, layer_of(CONFIG, content).sha256, "here")
    said, _ = process.communicate(timeout=60)
    assert said == "1\n", "only the manifest of the removed model goes"
    assert not store.missing(store.manifest(store.one(OTHER).manifest))


def test_a_lock_goes_with_the_process_that_is_killed(store: ModelStore) -> None:
    store.commit(NAME, manifest(store, b"weights"), "here")
    code = (
        "import sys, time; from pathlib import Path; from synfire.store import ModelStore\n"
        "with ModelStore(Path(sys.argv[1])).adding():\n    print('holds', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(store.home)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "holds\n"
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    assert store.remove(NAME, references).blobs == 3


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("shake", ModelName("shake", "latest")),
        ("shake:q8", ModelName("shake", "q8")),
        ("org/shake:Q4_K_M", ModelName("org/shake", "Q4_K_M")),
        ("hf.co/org/shake", ModelName("hf.co/org/shake", "latest")),
    ],
)
def test_names_are_read_with_their_tag(text: str, name: ModelName) -> None:
    assert ModelName.parse(text) == name
    assert ModelName.parse(str(name)) == name


@pytest.mark.parametrize(
    "text", ["", ":", "a:", ":b", "/x", "./x", "../x", "a//b", "a/../b", "a b", "a:b:c/d", "~x", "x" * 129]
)
def test_what_is_no_name_is_refused(text: str) -> None:
    assert not ModelName.suits(text)
    with pytest.raises(UserError, match="write it as name or name:tag"):
        ModelName.parse(text)


DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no model manifest"),
        (b"[]", "is no model manifest"),
        (b'{"schemaVersion": 1, "mediaType": "x", "config": {"mediaType": "x", "digest": "%s", "size": 1}, "layers": []}'
         % DIGEST.encode(), "schema version 1"),
        (encode_manifest(manifest_of(Layer(CONFIG, "sha256:../../etc", 1), [])), "64 hexadecimal digits"),
        (encode_manifest(manifest_of(Layer(CONFIG, DIGEST, -1), [])), "-1 bytes"),
        (encode_manifest(manifest_of(Layer(CONFIG, DIGEST, 1), [Layer(MODEL_FILE, DIGEST, 1, "../../etc/passwd")])), "does not stay in its folder"),
        (encode_manifest(manifest_of(Layer(CONFIG, DIGEST, 1), [Layer(MODEL_FILE, DIGEST, 1, "/etc/passwd")])), "does not stay in its folder"),
        (encode_manifest(manifest_of(Layer(CONFIG, DIGEST, 1), [Layer(SYSTEM, DIGEST, 1)] * 5000)), "at most 4096"),
        (b" " * (5 << 20), "no manifest is longer"),
    ],
)  # fmt: skip
def test_a_manifest_that_is_none_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(UserError, match=f"there.*{message}.*get the model again"):
        decode_manifest(content, "there")


def test_a_manifest_of_ollama_is_read() -> None:
    content = (
        b'{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{"mediaType":'
        b'"application/vnd.docker.container.image.v1+json","digest":"%s","size":485},"layers":[{"mediaType":'
        b'"application/vnd.ollama.image.model","digest":"%s","size":4661211424,"from":"/somewhere"}]}'
    ) % (DIGEST.encode(), DIGEST.replace("0", "a").encode())
    found = decode_manifest(content, "there")
    assert found.size == 4661211424 + 485
    assert [layer.media_type for layer in found.of(GGUF)] == [GGUF]
