"""Models come from hubs as these are: listings in pages, keys, redirects to other places, digests of two kinds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hubs import SHA, HuggingFace, ModelScope, Place

from synfire.base.errors import PermanentError, UnknownName, UserError
from synfire.hub import resolve
from synfire.hub.download import Away
from synfire.hub.pull import pull
from synfire.hub.repository import choose
from synfire.hub.source import Into
from synfire.store import ModelName
from synfire.store.incoming import WrongDigest
from synfire.testing.weights import language_model, language_model_parts

Serve = Callable[[Place], Place]
BIG = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)

FOLDER = {
    "README.md": b"# not a part of the model",
    "config.json": b'{"model_type": "llama"}',
    "tokenizer.json": b'{"model": {}}',
    "tokenizer_config.json": json.dumps({"chat_template": "{{ messages }}"}).encode(),
    "model.safetensors": safetensors.numpy.save({"w": BIG}),
    "pytorch_model.bin": b"\x80\x04 a pickle",
    "modeling.py": b"raise SystemExit",
    "onnx/model.onnx": b"another framework's",
}


@pytest.fixture
def large(serve: Serve) -> Place:
    return serve(Place())


@pytest.fixture
def hub(serve: Serve, large: Place, monkeypatch: pytest.MonkeyPatch) -> HuggingFace:
    made = HuggingFace(large, files=dict(FOLDER))
    serve(made)
    monkeypatch.setenv("HF_ENDPOINT", made.url + "/")
    return made


def test_a_repository_becomes_a_model_with_all_that_belongs_to_it(hub: HuggingFace, into: Into) -> None:
    found = pull("hf://org/shake", into)
    assert (str(found.model.name), found.model.source) == ("shake:latest", "hf://org/shake")
    files = resolve("shake")
    names = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    assert {each.name: each.read_bytes() for each in files.weights.iterdir()} == {name: FOLDER[name] for name in names}
    assert files.chat_template == "{{ messages }}"


@pytest.mark.parametrize(
    "text", ["hf.co/org/shake", "https://huggingface.co/org/shake", "https://huggingface.co/org/shake/tree/main"]
)
def test_the_address_of_its_page_will_do(hub: HuggingFace, into: Into, text: str) -> None:
    assert str(pull(text, into).model.name) == "shake:latest"
    assert hub.asked(f"/org/shake/resolve/{SHA}/config.json")


def test_a_key_is_shown_to_the_hub_and_to_no_place_that_it_leads_to(
    hub: HuggingFace, large: Place, into: Into, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.token = "hf_secret"
    with pytest.raises(UserError, match=r"answers 401.*set HF_TOKEN to a token that may read it"):
        pull("hf://org/shake", into)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(UserError, match="the token in HF_TOKEN has no right to it"):
        pull("hf://org/shake", into)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    pull("hf://org/shake", into)
    assert len(large.seen) == 1
    assert "authorization" not in large.seen[0].headers


def test_a_large_file_is_taken_up_where_its_connection_broke(hub: HuggingFace, large: Place, into: Into) -> None:
    large.breaks = [5000, 0, 3000]
    pull("hf://org/shake", into)
    assert [each.headers.get("range") for each in large.seen] == [None, "bytes=5000-", "bytes=5000-", "bytes=8000-"]
    resolve("shake").verify()


@pytest.mark.parametrize(("name", "lie"), [("model.safetensors", "1" * 64), ("config.json", "1" * 40)])
def test_other_bytes_than_the_hub_announces_are_not_kept(hub: HuggingFace, into: Into, name: str, lie: str) -> None:
    hub.lies = {name: lie}
    with pytest.raises(WrongDigest, match="nothing of it is kept"):
        pull("hf://org/shake", into)
    assert into.store.names() == []
    hub.lies = {}
    pull("hf://org/shake", into)
    resolve("shake").verify()


def test_what_is_there_already_is_not_fetched(hub: HuggingFace, large: Place, into: Into) -> None:
    pull("hf://org/shake", into)
    pull("hf://org/shake", into, ModelName("again"))
    assert len(large.seen) == 1


def test_a_hub_that_is_away_does_no_harm_to_who_has_the_model(hub: HuggingFace, into: Into) -> None:
    pull("hf://org/shake", into)
    hub.statuses = [502]
    assert "502" in pull("hf://org/shake", into).kept
    hub.statuses = [429]
    with pytest.raises(Away, match="answers 429"):
        pull("hf://org/shake", into, ModelName("other"))


def test_a_hub_that_cannot_be_reached_is_told_by_name(into: Into, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(Away, match=r"the hub 127\.0\.0\.1:1 is away .*; try again later"):
        pull("hf://org/shake", into)


def test_a_hub_that_is_to_be_left_alone_is(hub: HuggingFace, into: Into, monkeypatch: pytest.MonkeyPatch) -> None:
    pull("hf://org/shake", into)
    hub.seen.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE is set" in pull("hf://org/shake", into).kept
    assert hub.seen == []


def test_an_unknown_repository_or_revision_is_told(hub: HuggingFace, into: Into) -> None:
    for text in ("hf://org/other", "hf://org/shake@v9"):
        with pytest.raises(UnknownName, match="there is no such model or file there"):
            pull(text, into)


def test_a_hub_that_answers_something_else_is_told(hub: HuggingFace, large: Place, into: Into) -> None:
    hub.repository = "elsewhere/shake"
    hub.files["api"] = b""
    hub.give = lambda path, query, headers, send: hub.file(b"<html>", headers, send)  # type: ignore[method-assign]
    with pytest.raises(PermanentError, match=r"gives an answer that is not the hub's.*check HF_ENDPOINT"):
        pull("hf://org/shake", into)


def test_a_file_that_would_leave_its_folder_is_refused(hub: HuggingFace, into: Into, tmp_path: Path) -> None:
    hub.files = {**FOLDER, "../../escaped.json": b"{}"}
    pull("hf://org/shake", into)
    assert not list(tmp_path.rglob("escaped.json"))
    assert all(".." not in layer.name for layer in resolve("shake").manifest.layers)


def test_a_gguf_file_is_chosen_by_its_precision(hub: HuggingFace, into: Into) -> None:
    *parts, whole = language_model_parts(2)
    hub.files = {
        "shake.Q8_0.gguf": language_model(seed=8),
        "shake.Q4_K_M.gguf": language_model(seed=4),
        "big/shake-F16-00001-of-00002.gguf": parts[0],
        "big/shake-F16-00002-of-00002.gguf": parts[1],
        "mmproj-shake.gguf": b"eyes",
    }
    assert str(pull("hf://org/shake:Q8_0", into).model.name) == "shake:Q8_0"
    assert resolve("shake:Q8_0").weights.read_bytes() == language_model(seed=8)
    pull("hf://org/shake", into)
    assert resolve("shake").weights.read_bytes() == language_model(seed=4)
    pull("hf://org/shake:F16", into)
    assert resolve("shake:F16").weights.read_bytes() == whole
    with pytest.raises(
        UserError, match=r"holds no GGUF model 'Q5_0'; there are big/shake-F16\.gguf, shake\.Q4_K_M\.gguf"
    ):
        pull("hf://org/shake:Q5_0", into)


@pytest.mark.parametrize(
    ("names", "wanted", "chosen"),
    [
        (["a.gguf", "README.md"], "", ["a.gguf"]),
        (["a-Q4_K_M.gguf", "a-Q4_K_S.gguf"], "", ["a-Q4_K_M.gguf"]),
        (["a-Q4_K_M.gguf", "a-Q4_K_S.gguf"], "q4_k_s", ["a-Q4_K_S.gguf"]),
        (["a-Q4_K_M.gguf", "a-Q4_K_S.gguf"], "a-Q4_K_S.gguf", ["a-Q4_K_S.gguf"]),
        (["config.json", "model.safetensors", "x.gguf"], "", ["config.json", "model.safetensors"]),
        (["config.json", "model.safetensors", "x.gguf"], "x.gguf", ["x.gguf"]),
    ],
)  # fmt: skip
def test_files_are_chosen_by_what_is_wanted(names: list[str], wanted: str, chosen: list[str]) -> None:
    assert choose(names, wanted, "there") == chosen


@pytest.mark.parametrize(
    ("names", "wanted", "message"),
    [
        ([], "", "holds neither safetensors with a config.json nor"),
        (["config.json", "pytorch_model.bin"], "", "holds neither safetensors"),
        (["a.gguf", "b.gguf"], "", r"holds several models: a\.gguf, b\.gguf; name one"),
        (["a-Q4_K_M.gguf"], "Q4_K", "holds no GGUF model 'Q4_K'"),
    ],
)
def test_where_the_choice_is_open_it_is_the_users(names: list[str], wanted: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        choose(names, wanted, "there")


@pytest.mark.parametrize("text", ["modelscope://org/shake", "https://www.modelscope.cn/models/org/shake/summary"])
def test_a_repository_of_the_other_hub_becomes_a_model(
    serve: Serve, into: Into, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    hub = serve(ModelScope(dict(FOLDER), token="ms_secret"))
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", hub.url)
    with pytest.raises(UserError, match="set MODELSCOPE_API_TOKEN"):
        pull(text, into)
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", "ms_secret")
    hub.breaks = [10, 5]
    assert pull(text, into).model.source == "modelscope://org/shake"
    resolve("shake").verify()


def test_the_other_hub_that_answers_something_else_is_told(
    serve: Serve, into: Into, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = serve(Place({"/api/v1/models/org/shake/repo/files": b'{"Code": 10010205001}'}))
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", hub.url)
    with pytest.raises(PermanentError, match="check MODELSCOPE_ENDPOINT"):
        pull("modelscope://org/shake", into)
