"""Models are made, and told of line by line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synfire.base.errors import UserError
from synfire.gateway.ollama.bodies import CreateBody, read
from synfire.gateway.ollama.making import Telling, lines, making, pulling, pushing, told
from synfire.hub.files import stored
from synfire.hub.pull import pull
from synfire.hub.source import Into
from synfire.store import ModelName, ModelStore
from synfire.testing.weights import adapter, language_model


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """A store with the model `shake`."""
    (tmp_path / "shake.gguf").write_bytes(language_model())
    store = ModelStore(tmp_path / "home")
    pull(str(tmp_path / "shake.gguf"), Into(store))
    return store


def said(work: Callable[[Telling], None]) -> list[dict[str, Any]]:
    async def main() -> list[dict[str, Any]]:
        return [json.loads(line) async for line in lines(told(work, "begins"))]

    return asyncio.run(main())


def body(**fields: Any) -> CreateBody:
    return read(json.dumps({"model": "made", **fields}).encode(), CreateBody)


def test_a_model_is_made_from_another_one_with_what_a_modelfile_says(store: ModelStore) -> None:
    wanted = body(**{"from": "shake"}, system="S", template="{{ .Prompt }}", parameters={"stop": ["a", "b"], "use_mmap": True},
        messages=[{"role": "user", "content": "Hi"}], license="L")  # fmt: skip
    assert said(making(wanted, store)) == [{"status": "begins"}, {"status": "success"}]
    files = stored(ModelName("made"), store)
    assert (files.system, files.template, files.licenses) == ("S", "{{ .Prompt }}", ("L",))
    assert files.params == {"stop": ["a", "b"], "use_mmap": True}
    assert [each.content for each in files.messages] == ["Hi"]


def test_a_model_is_made_of_blobs(store: ModelStore) -> None:
    digests = [store.blobs.put(each) for each in (language_model(), adapter())]
    files, adapters = {"m.gguf": f"sha256:{digests[0]}"}, {"a.gguf": f"sha256:{digests[1]}"}
    assert said(making(body(files=files, adapters=adapters), store))[-1] == {"status": "success"}
    assert len(stored(ModelName("made"), store).adapters) == 1


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({}, "from another one, or of files"),
        ({"from": "shake", "files": {"a": "b"}}, "name the one as from, or the others as files"),
        ({"from": "shake", "quantize": "q4_0"}, "quantize is not done"),
        ({"from": "shake", "parameters": {"x": 1}}, "there is no parameter 'x'"),
        ({"from": "shake", "messages": [{"role": "x", "content": ""}]}, "'x' is no role"),
    ],
)
def test_what_cannot_be_made_is_refused_at_once(store: ModelStore, fields: dict[str, Any], what: str) -> None:
    with pytest.raises(UserError, match=what):
        making(body(**fields), store)


@pytest.mark.parametrize(
    ("files", "what"),
    [({"a.gguf": f"sha256:{'0' * 64}"}, "is not there; send it to /api/blobs/"), ({"../a": "0"}, "no name of a file")],
)
def test_what_goes_wrong_on_the_way_is_the_last_line(store: ModelStore, files: dict[str, str], what: str) -> None:
    assert what in said(making(body(files=files), store))[-1]["error"]


def test_paths_of_the_machine_are_not_read_for_callers(store: ModelStore, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="reads no files for its callers"):
        pulling(str(tmp_path / "shake.gguf"), store)
    with pytest.raises(UserError, match="says not where to"):
        pushing("shake", store)


def test_how_far_a_long_work_has_come_is_told() -> None:
    def work(telling: Telling) -> None:
        telling.begin("weights", 10)
        telling.advance(4)
        telling.end()
        telling.say("nearly")

    assert said(work)[-1] == {"status": "success"}
    telling = Telling()
    telling.begin("weights", 10, 2)
    telling.advance(4)
    assert (telling.now.total, telling.now.completed) == (10, 6)
    telling.again(1)
    telling.end()
    assert telling.now.completed == 10
