"""Models go from one synfire to another: pulled from its store, or pushed into it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from synfire.base.errors import UnknownName, UserError
from synfire.base.keys import VARIABLE
from synfire.formats.modelfile import parse_modelfile
from synfire.hub import resolve
from synfire.hub.create import create
from synfire.hub.download import Away
from synfire.hub.pull import pull
from synfire.hub.push import push
from synfire.hub.source import Into
from synfire.store import ModelName, ModelStore
from synfire.testing.weights import language_model, write_folder

KEY = {"authorization": "Bearer secret-2"}
BARD = ModelName("org/bard", "q8")


@pytest.fixture(autouse=True)
def homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's store is that of SYNFIRE_HOME, which is looked up for every request."""
    monkeypatch.setenv("SYNFIRE_HOME", str(tmp_path / "there"))
    monkeypatch.setattr("synfire.hub.download.PAUSE_S", 0.0)


@pytest.fixture
def there() -> ModelStore:
    return ModelStore()


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Into]:
    with httpx.Client(trust_env=False, timeout=20) as client:
        yield Into(ModelStore(tmp_path / "here"), client=client)


def fill(store: ModelStore, folder: Path) -> None:
    """A model with a file, a text and parameters, and a directory."""
    into = Into(store)
    (folder / "shake.gguf").write_bytes(language_model() + bytes(3 << 20))
    create(BARD, parse_modelfile("FROM shake.gguf\nSYSTEM x\nPARAMETER seed 1\n"), folder, into)
    pull(str(write_folder(folder / "base")), into)


def reference(gateway: object, name: object = BARD) -> str:
    return f"synfire://{gateway.host_port}/{name}"  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["org/bard:q8", "base:latest"])
def test_a_model_is_pulled_as_it_is_there(gateway, there: ModelStore, here: Into, tmp_path: Path, name: str) -> None:
    fill(there, tmp_path)
    found = pull(reference(gateway, name), here)
    assert (str(found.model.name), found.model.source) == (name, reference(gateway, name))
    assert resolve(name, here.store).digest == resolve(name, there).digest
    resolve(name, here.store).verify()


def test_what_was_broken_off_is_resumed(gateway, there: ModelStore, here: Into, tmp_path: Path) -> None:
    fill(there, tmp_path)
    weights = resolve(BARD.name + ":q8", there).weights
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    part = here.store.blobs.root / "incoming" / digest
    part.parent.mkdir(parents=True)
    part.write_bytes(weights.read_bytes()[:1_000_000])
    pull(reference(gateway), here)
    resolve(str(BARD), here.store).verify()


def test_the_models_that_there_are_can_be_asked_for(gateway, there: ModelStore, tmp_path: Path) -> None:
    fill(there, tmp_path)
    listed = httpx.get(f"{gateway.addresses.url}/api/store/models").json()
    assert [each["name"] for each in listed] == ["base:latest", "org/bard:q8"]
    assert listed[1]["digest"] == resolve("org/bard:q8", there).digest


@pytest.mark.parametrize(("asked", "status", "span"), [
    (None, 200, slice(None)), ("bytes=100-", 206, slice(100, None)), ("bytes=5-9", 206, slice(5, 10)),
    ("bytes=0-99999999", 206, slice(None)), ("lines=1-2", 200, slice(None)),
])  # fmt: skip
def test_a_part_of_a_blob_can_be_had(gateway, there: ModelStore, asked: str | None, status: int, span: slice) -> None:
    content = bytes(range(256)) * 20
    digest = there.blobs.put(content)
    headers = {"range": asked} if asked else {}
    answer = httpx.get(f"{gateway.addresses.url}/api/store/blobs/{digest}", headers=headers)
    assert (answer.status_code, answer.content) == (status, content[span])
    assert int(answer.headers["content-length"]) == len(content[span])


def test_a_part_beyond_the_end_is_refused_with_the_end(gateway, there: ModelStore) -> None:
    digest = there.blobs.put(b"short")
    answer = httpx.get(f"{gateway.addresses.url}/api/store/blobs/{digest}", headers={"range": "bytes=5-"})
    assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */5")


@pytest.mark.parametrize(("path", "status"), [
    ("models/nothing", 404), ("models/..%2Fx", 400), ("blobs/" + "0" * 64, 404), ("blobs/..%2F..%2Fetc%2Fpasswd", 400),
])  # fmt: skip
def test_what_is_not_there_is_told(gateway, path: str, status: int) -> None:
    answer = httpx.get(f"{gateway.addresses.url}/api/store/{path}")
    assert (answer.status_code, list(answer.json())) == (status, ["error"])


def test_an_unknown_model_is_told_by_who_asks(gateway, here: Into) -> None:
    with pytest.raises(UnknownName, match="there is no such model or file there"):
        pull(reference(gateway), here)


def test_a_deployment_that_is_gone_does_no_harm_to_who_has_the_model(
    gateway, there: ModelStore, here: Into, tmp_path: Path
) -> None:
    fill(there, tmp_path)
    pull(reference(gateway), here)
    here.store.catalog.tag(BARD, here.store.one(BARD).manifest, "synfire://127.0.0.1:1/org/bard:q8")
    assert "is away" in pull(str(BARD), here).kept
    with pytest.raises(Away):
        pull("synfire://127.0.0.1:1/other", here)


def test_a_model_is_pushed_and_only_what_is_missing_is_sent(
    locked, there: ModelStore, here: Into, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "secret-2")
    monkeypatch.setattr("synfire.hub.push.PIECE", 1 << 20)
    fill(here.store, tmp_path)
    size = here.store.manifest(here.store.one(BARD).manifest).size
    assert push(BARD, locked.addresses.url, here) == size
    resolve(str(BARD), there).verify()
    assert there.one(BARD).source == "pushed"
    assert push(BARD, locked.addresses.url, here) == 0


def test_a_push_that_was_broken_off_is_resumed(
    locked, there: ModelStore, here: Into, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "secret-2")
    fill(here.store, tmp_path)
    weights = resolve(str(BARD), here.store).weights.read_bytes()
    part = there.blobs.root / "incoming" / hashlib.sha256(weights).hexdigest()
    part.parent.mkdir(parents=True)
    part.write_bytes(weights[:3_000_000])
    size = here.store.manifest(here.store.one(BARD).manifest).size
    assert push(BARD, locked.addresses.url, here) == size - 3_000_000
    resolve(str(BARD), there).verify()


def test_a_deployment_that_everybody_may_call_takes_nothing(gateway, here: Into, tmp_path: Path) -> None:
    fill(here.store, tmp_path)
    with pytest.raises(UserError, match=r"takes no models.*start it with SYNFIRE_API_KEY set"):
        push(BARD, gateway.addresses.url, here)


def test_without_the_key_nothing_is_pulled_or_pushed(
    locked, there: ModelStore, here: Into, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    fill(here.store, tmp_path)
    for act in (lambda: push(BARD, locked.addresses.url, here), lambda: pull(reference(locked, "other"), here)):
        with pytest.raises(UserError, match=r"answers 401.*set SYNFIRE_API_KEY to a key of that deployment"):
            act()
    assert there.names() == []


def put(url: str, content: bytes, content_range: str) -> httpx.Response:
    return httpx.put(url, content=content, headers={**KEY, "content-range": content_range})


def test_a_part_out_of_turn_is_answered_with_where_to_go_on(locked, there: ModelStore) -> None:
    content = b"0123456789"
    url = f"{locked.addresses.url}/api/store/blobs/{hashlib.sha256(content).hexdigest()}"
    assert put(url, b"", "bytes */10").json() == {"size": 0, "whole": False}
    assert put(url, content[:4], "bytes 0-3/10").json() == {"size": 4, "whole": False}
    assert put(url, content[:4], "bytes 0-3/10").json() == {"size": 4, "whole": False}
    assert put(url, content[6:], "bytes 6-9/10").json() == {"size": 4, "whole": False}
    assert put(url, content[4:], "bytes 4-9/10").json() == {"size": 10, "whole": True}
    assert put(url, b"", "bytes */10").json() == {"size": 10, "whole": True}
    assert list(there.blobs) == [hashlib.sha256(content).hexdigest()]


@pytest.mark.parametrize(("content", "content_range", "said"), [
    (b"abcd", "", "comes with Content-Range"), (b"abcd", "bytes 0-9/10", "4 bytes came; send as many as it says"),
    (b"abcd", "bytes 0-3/4", "nothing of it is kept"),
])  # fmt: skip
def test_a_part_that_is_none_is_refused(
    locked, there: ModelStore, content: bytes, content_range: str, said: str
) -> None:
    answer = put(f"{locked.addresses.url}/api/store/blobs/{'0' * 64}", content, content_range)
    assert answer.status_code == 400
    assert said in answer.json()["error"]
    assert list(there.blobs) == []


def test_a_manifest_comes_after_its_blobs(locked, there: ModelStore, here: Into, tmp_path: Path) -> None:
    fill(here.store, tmp_path)
    content = here.store.blobs.get(here.store.one(BARD).manifest)
    url = f"{locked.addresses.url}/api/store/models/org%2Fbard:q8"
    answer = httpx.put(url, content=content, headers=KEY)
    assert (answer.status_code, there.names()) == (400, [])
    assert "push them first" in answer.json()["error"]


def test_a_name_of_the_zoo_is_not_taken(locked, here: Into, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(here.store, tmp_path)
    here.store.copy(BARD, ModelName("svgg-digits"))
    monkeypatch.setenv(VARIABLE, "secret-2")
    with pytest.raises(UserError, match=r"refuses: 'svgg-digits' is a model of the zoo"):
        push(ModelName("svgg-digits"), locked.addresses.url, here)
