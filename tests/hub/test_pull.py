"""A model comes into the store from files of this machine and of the web: whole, once, and checked."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hubs import Place

from synfire.base.errors import PermanentError, TemporaryError, UnknownName, UserError
from synfire.hub import resolve
from synfire.hub.download import TRIES, Away
from synfire.hub.garbage import references
from synfire.hub.pull import pull
from synfire.hub.source import Into
from synfire.store import ModelName
from synfire.store.incoming import WrongDigest
from synfire.testing.weights import (
    language_model,
    language_model_parts,
    write_adapter_folder,
    write_folder,
)

Serve = Callable[[Place], Place]
MODEL = language_model()
DIGEST = hashlib.sha256(MODEL).hexdigest()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "shake.gguf"
    path.write_bytes(MODEL)
    return path


@pytest.fixture
def web(serve: Serve) -> Place:
    return serve(Place({"/models/shake.gguf": MODEL}))


def incoming(into: Into) -> list[Path]:
    return list((into.store.blobs.root / "incoming").glob("*"))


def test_a_gguf_file_becomes_a_model_of_its_name(file: Path, into: Into) -> None:
    found = pull(str(file), into)
    assert (str(found.model.name), found.changed, found.model.source) == ("shake:latest", True, str(file))
    files = resolve("shake")
    assert files.weights.read_bytes() == MODEL
    assert (files.name, files.digest, files.is_gguf) == ("shake:latest", found.model.manifest, True)
    assert files.described.parameters == 384
    files.verify()


def test_a_model_and_its_file_are_the_same_model(file: Path, into: Into) -> None:
    pull(str(file), into)
    assert resolve(file).digest == resolve("shake").digest


def test_pulling_again_changes_nothing(file: Path, into: Into) -> None:
    assert pull(str(file), into).changed
    assert not pull(str(file), into).changed
    assert not pull("shake", into).changed, "by its name it comes from where it came from"
    file.write_bytes(language_model(seed=1))
    assert pull("shake", into).changed


def test_a_directory_becomes_a_model_with_all_that_belongs_to_it(tmp_path: Path, into: Into) -> None:
    folder = write_folder(tmp_path / "Shake-5.1-chat", shards=2)
    assert str(pull(str(folder), into).model.name) == "Shake-5.1-chat:latest"
    files = resolve("Shake-5.1-chat")
    assert not files.is_gguf
    given = {each.name: each.read_bytes() for each in files.weights.iterdir()}
    assert given == {each.name: each.read_bytes() for each in folder.iterdir() if each.suffix != ".py"}
    assert files.chat_template == resolve(folder).chat_template
    assert files.digest == resolve(folder).digest


def test_an_adapter_is_kept_as_one(tmp_path: Path, into: Into) -> None:
    pull(str(write_adapter_folder(tmp_path / "lora")), into)
    files = resolve("lora")
    assert files.is_adapter
    assert sorted(each.name for each in files.adapters[0].iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    with pytest.raises(UserError, match="is an adapter and no model; name it in a Modelfile"):
        files.weights  # noqa: B018


@pytest.mark.parametrize("part", [0, 2])
def test_parts_are_joined(tmp_path: Path, into: Into, part: int) -> None:
    *parts, whole = language_model_parts(3)
    names = [tmp_path / f"big-{n:05}-of-00003.gguf" for n in (1, 2, 3)]
    for name, content in zip(names, parts, strict=True):
        name.write_bytes(content)
    pull(str(names[part]), into)
    assert resolve("big").weights.read_bytes() == whole
    assert incoming(into) == []


def test_a_missing_part_is_named(tmp_path: Path, into: Into) -> None:
    (tmp_path / "big-00001-of-00002.gguf").write_bytes(language_model_parts(2)[0])
    with pytest.raises(UserError, match=r"lacks big-00002-of-00002\.gguf of 2 parts; copy them there"):
        pull(str(tmp_path / "big-00001-of-00002.gguf"), into)


def test_a_part_is_no_model_by_itself(tmp_path: Path) -> None:
    (tmp_path / "big-00001-of-00002.gguf").write_bytes(language_model_parts(2)[0])
    with pytest.raises(UserError, match=r"is part 1 of 2 of a model; `synfire pull .*` joins them"):
        resolve(tmp_path / "big-00001-of-00002.gguf")


def test_a_damaged_file_leaves_nothing_behind(file: Path, into: Into) -> None:
    file.write_bytes(MODEL[:-100])
    with pytest.raises(UserError, match=r"shake\.gguf is cut off"):
        pull(str(file), into)
    assert into.store.names() == []
    assert list(into.store.blobs) == []


def test_a_full_disk_is_no_end(file: Path, into: Into, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write

    def full(handle: int, piece: memoryview) -> int:
        if os.fstat(handle).st_size >= 1000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(handle, piece[:1000])

    with monkeypatch.context() as patch:
        patch.setattr("synfire.store.incoming.os.write", full)
        with pytest.raises(TemporaryError, match="no space left there; free some"):
            pull(str(file), into)
    assert into.store.names() == []
    pull(str(file), into)
    resolve("shake").verify()


def test_a_name_that_stands_for_another_model_is_kept(file: Path, tmp_path: Path, into: Into) -> None:
    pull(str(file), into)
    other = tmp_path / "other.gguf"
    other.write_bytes(language_model(seed=1))
    with pytest.raises(UserError, match=r"shake:latest is in the store, from .*; take another --name, or --replace"):
        pull(str(other), into, ModelName("shake"))
    pull(str(other), into, ModelName("shake"), replacing=True)
    assert resolve("shake").weights.read_bytes() == other.read_bytes()


def test_a_model_of_the_zoo_keeps_its_name(file: Path, into: Into) -> None:
    with pytest.raises(UserError, match=r"'svgg-digits' is a model of the zoo.*choose another name"):
        pull(str(file), into, ModelName("svgg-digits"))


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("nothing-like-it", UnknownName, "no model in the store, and no place to get one from; write one as"),
        ("./no-such.gguf", UserError, "there is no file or directory"),
        ("https://host/x.bin", UserError, r"names no single \.gguf file"),
        ("https://host/x.gguf#sha256=12", UserError, "64 hexadecimal digits"),
        ("hf://org", UserError, "names no repository; write it as ORG/REPO"),
        ("synfire://host:1", UserError, "write it as synfire://HOST:PORT/NAME"),
    ],
)
def test_what_names_nothing_is_told_how_to_be_written(
    into: Into, text: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        pull(text, into)


def test_a_file_of_the_web_becomes_a_model(web: Place, into: Into) -> None:
    found = pull(f"{web.url}/models/shake.gguf", into)
    assert str(found.model.name) == "shake:latest"
    assert resolve("shake").weights.read_bytes() == MODEL
    assert incoming(into) == []


def test_parts_of_the_web_are_joined(serve: Serve, into: Into) -> None:
    *parts, whole = language_model_parts(2)
    web = serve(Place({f"/big-{n:05}-of-00002.gguf": each for n, each in enumerate(parts, 1)}))
    pull(f"{web.url}/big-00001-of-00002.gguf", into)
    assert resolve("big").weights.read_bytes() == whole
    assert len(list(into.store.blobs)) == 3, "model, config and manifest; no parts"


@pytest.mark.parametrize("announced", [True, False])
def test_a_connection_that_breaks_is_taken_up_where_it_broke(
    web: Place, into: Into, told: object, announced: bool
) -> None:
    web.breaks = [700, 300, 0, 500]
    pull(f"{web.url}/models/shake.gguf" + (f"#sha256={DIGEST}" if announced else ""), into)
    assert resolve("shake").weights.read_bytes() == MODEL
    assert [each.headers.get("range") for each in web.seen] == [
        None,
        "bytes=700-",
        "bytes=1000-",
        "bytes=1000-",
        "bytes=1500-",
    ]
    assert told.bytes == len(MODEL)  # type: ignore[attr-defined]


def test_a_place_that_knows_no_ranges_is_asked_for_everything(web: Place, into: Into) -> None:
    web.breaks, web.ranges = [700, 300], False
    pull(f"{web.url}/models/shake.gguf", into)
    assert resolve("shake").weights.read_bytes() == MODEL


def test_without_a_tag_of_its_content_a_file_is_not_continued(web: Place, into: Into) -> None:
    web.breaks, web.etags = [700], False
    pull(f"{web.url}/models/shake.gguf", into)
    assert [each.headers.get("range") for each in web.seen] == [None, None]
    assert resolve("shake").weights.read_bytes() == MODEL


def test_a_file_that_changed_meanwhile_is_fetched_anew(web: Place, into: Into) -> None:
    web.breaks = [700] + [0] * TRIES
    with pytest.raises(Away, match="is away"):
        pull(f"{web.url}/models/shake.gguf", into)
    assert sum(path.stat().st_size for path in incoming(into) if path.suffix == "") == 700
    web.files["/models/shake.gguf"] = language_model(seed=1)
    web.breaks = []
    pull(f"{web.url}/models/shake.gguf", into)
    assert resolve("shake").weights.read_bytes() == language_model(seed=1)


def test_what_was_broken_off_is_resumed_by_the_next_pull(web: Place, into: Into) -> None:
    web.breaks = [700] + [0] * TRIES
    with pytest.raises(Away, match="try again later"):
        pull(f"{web.url}/models/shake.gguf", into)
    assert into.store.names() == []
    web.breaks, web.seen = [], []
    pull(f"{web.url}/models/shake.gguf", into)
    assert [each.headers.get("range") for each in web.seen] == ["bytes=700-"]
    resolve("shake").verify()


def test_other_bytes_than_announced_are_not_kept(web: Place, into: Into) -> None:
    wrong = DIGEST[::-1]
    with pytest.raises(WrongDigest, match="nothing of it is kept: try again"):
        pull(f"{web.url}/models/shake.gguf#sha256={wrong}", into)
    assert (into.store.names(), list(into.store.blobs), incoming(into)) == ([], [], [])


def test_a_file_that_is_no_model_is_named(serve: Serve, into: Into) -> None:
    web = serve(Place({"/x.gguf": b"<html>please log in</html>" * 9}))
    with pytest.raises(UserError, match="is no model of weights"):
        pull(f"{web.url}/x.gguf", into)
    assert into.store.names() == []


@pytest.mark.parametrize(
    ("statuses", "error", "message"),
    [
        ([404], UnknownName, "there is no such model or file there"),
        ([403], UserError, "it wants a key"),
        ([400], PermanentError, "400"),
    ],
)
def test_what_a_place_refuses_is_told(
    web: Place, into: Into, statuses: list[int], error: type[Exception], message: str
) -> None:
    web.statuses = statuses
    with pytest.raises(error, match=message):
        pull(f"{web.url}/models/shake.gguf", into)


def test_a_busy_place_says_when_to_come_back(web: Place, into: Into) -> None:
    web.statuses = [503]
    with pytest.raises(Away) as error:
        pull(f"{web.url}/models/shake.gguf", into)
    assert error.value.retry_after_s == 7


def test_packed_bytes_are_not_taken_for_the_file(web: Place, into: Into) -> None:
    web.packed = True
    with pytest.raises(PermanentError, match="packed with gzip"):
        pull(f"{web.url}/models/shake.gguf", into)


def test_too_little_room_is_said_before_anything_comes(web: Place, into: Into, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.statvfs(into.store.home.parent)
    small = os.statvfs_result((*real[:4], 0, *real[5:]))
    monkeypatch.setattr("synfire.hub.download.os.statvfs", lambda _: small)
    with pytest.raises(TemporaryError, match=rf"takes {len(MODEL)} bytes more, and 0 are free.*it goes on from here"):
        pull(f"{web.url}/models/shake.gguf", into)
    assert incoming(into) == []


def test_the_copy_serves_while_the_place_is_away(web: Place, into: Into) -> None:
    url = f"{web.url}/models/shake.gguf"
    before = pull(url, into).model
    web.statuses = [503, 503]
    for text in (url, "shake"):
        found = pull(text, into)
        assert (found.changed, found.model) == (False, before)
        assert "answers 503" in found.kept


def test_a_copy_that_is_damaged_does_not_serve(web: Place, into: Into) -> None:
    pull(f"{web.url}/models/shake.gguf", into)
    into.store.blobs.path(DIGEST).unlink()
    web.statuses = [503]
    with pytest.raises(Away):
        pull("shake", into)
    pull("shake", into)
    resolve("shake").verify()


def test_a_key_in_a_url_is_not_kept(web: Place, into: Into) -> None:
    url = web.url.replace("http://", "http://me:secret@")
    found = pull(f"{url}/models/shake.gguf", into)
    assert found.model.source == f"{web.url}/models/shake.gguf"
    assert web.seen[0].headers["authorization"].startswith("Basic ")
    assert not any(b"secret" in path.read_bytes() for path in into.store.home.rglob("*") if path.is_file())


PULLING = """
import sys
from synfire.hub.download import client
from synfire.hub.pull import pull
from synfire.hub.source import Into
print("ready", flush=True)
sys.stdin.readline()
print(pull(sys.argv[1], Into()).changed)
"""


def pulling(url: str) -> subprocess.Popen[str]:
    """Another process that pulls once it is told to."""
    environment = {**os.environ, "NO_PROXY": "127.0.0.1"}
    process = subprocess.Popen(
        [sys.executable, "-c", PULLING, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_two_pulls_at_once_fetch_it_once(serve: Serve, into: Into) -> None:
    web = serve(Place({"/shake.gguf": language_model() + bytes(8 << 20)}))
    digest = hashlib.sha256(web.files["/shake.gguf"]).hexdigest()
    processes = [pulling(f"{web.url}/shake.gguf#sha256={digest}") for _ in range(2)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = sorted(process.communicate(timeout=60)[0] for process in processes)
    assert said == ["False\n", "True\n"]
    assert len(web.seen) == 1
    resolve("shake").verify()


KILLED = """
import sys
from synfire.hub.pull import pull
from synfire.hub.source import Into
from synfire.hub.watcher import Watcher

class Telling(Watcher):
    left = int(sys.argv[2])
    def advance(self, count):
        self.left -= count
        if self.left <= 0:
            print("has it", flush=True)

pull(sys.argv[1], Into(watcher=Telling()))
"""


@pytest.mark.parametrize("count", [1, 700, len(MODEL) - 1])
def test_a_killed_pull_leaves_no_model_and_is_resumed(web: Place, into: Into, count: int) -> None:
    web.stalls, url = [count], f"{web.url}/models/shake.gguf"
    command = [sys.executable, "-c", KILLED, url, str(count)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "NO_PROXY": "127.0.0.1"}
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "has it\n"
        process.kill()
    assert (into.store.names(), list(into.store.blobs)) == ([], [])
    pull(url, into)
    assert [each.headers.get("range") for each in web.seen] == [None, f"bytes={count}-"]
    resolve("shake").verify()


def test_a_blob_that_is_removed_meanwhile_is_fetched_again(
    file: Path, into: Into, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another model's removal takes a blob that this pull found in the store, before it has its name."""
    pull(str(file), into, ModelName("first"))
    commit, calls = into.store.commit, []

    def late(name: ModelName, content: bytes, source: str) -> object:
        calls.append(name)
        if len(calls) == 1:
            into.store.remove(ModelName("first"), references)
        return commit(name, content, source)

    monkeypatch.setattr(type(into.store), "commit", lambda _, *told: late(*told))
    pull(str(file), into, ModelName("second"))
    assert len(calls) == 2
    resolve("second").verify()
