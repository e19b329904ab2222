"""A Hugging Face directory is one operator; an adapter goes with its model, and with no other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from synfire.base.errors import UserError
from synfire.formats import load
from synfire.formats.huggingface_model import ADAPTER
from synfire.formats.weights import digest_of, gathered
from synfire.ops.language_model import LanguageModel
from synfire.testing.language_folders import write_tiny_adapter, write_tiny_folder
from synfire.testing.language_models import TEMPLATE, TINY


@pytest.fixture(autouse=True)
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNFIRE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_folder(tmp_path / "tiny")


def model(path: Path, **options: object) -> LanguageModel:
    found = load(path, **options).operator("model")
    assert isinstance(found, LanguageModel)
    return found


def test_a_directory_is_one_operator_with_the_digests_of_its_files(folder: Path) -> None:
    found = model(folder)
    assert (found.format, found.context, found.streams) == ("safetensors", 256, 8)
    assert {name for name, _ in found.weights} == {each.name for each in folder.iterdir()}
    assert found.weight_bytes == (folder / "model.safetensors").stat().st_size
    assert found.token_bytes == 2 * TINY.layers * TINY.width * 4


def test_what_callers_want_to_know_is_on_its_card(folder: Path, tmp_path: Path) -> None:
    card = load(folder).metadata["language"]
    assert (card["architecture"], card["name"], card["precision"]) == ("llama", "tiny", "F32")
    assert (card["bos_token"], card["eos_token"], card["adds_bos"]) == ("<s>", "</s>", True)
    assert card["chat_template"] == TEMPLATE
    base = write_tiny_folder(tmp_path / "base", template=None)
    assert load(base).metadata["language"]["chat_template"] is None


def test_a_tokenizer_that_puts_nothing_before_a_text_is_known_by_its_last_step(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    step = tokenizer["post_processor"]
    for given, adds in (
        (None, False),
        ({"type": "ByteLevel"}, False),
        ({"type": "Sequence", "processors": [step]}, True),
    ):
        (folder / "tokenizer.json").write_text(json.dumps({**tokenizer, "post_processor": given}))
        assert load(folder).metadata["language"]["adds_bos"] is adds


def test_the_context_is_what_was_asked_for_within_what_it_was_trained_for(folder: Path) -> None:
    assert model(folder, context=64).context == 64
    for wrong in (257, -1):
        with pytest.raises(UserError, match="trained for 256 tokens"):
            load(folder, context=wrong)


def test_a_model_that_gives_no_text_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["BertForMaskedLM"]}))
    with pytest.raises(UserError, match="BertForMaskedLM, which does not go on from a text"):
        load(folder)


def test_an_adapter_finds_its_model_beside_it(folder: Path, tmp_path: Path) -> None:
    found = model(write_tiny_adapter(tmp_path / "lora", "somebody/tiny"))
    names = [name for name, _ in found.weights]
    assert names[:-2] == [name for name, _ in model(folder).weights]
    assert names[-2:] == [f"{ADAPTER}adapter_model.safetensors", f"{ADAPTER}adapter_config.json"]


def test_an_adapter_whose_model_is_nowhere_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"adapter of the model somebody/other, whose directory is not found.*--base DIRECTORY"
    ):
        load(write_tiny_adapter(tmp_path / "lora", "somebody/other"))


def test_an_adapter_of_another_model_is_refused_with_both_shapes(folder: Path, tmp_path: Path) -> None:
    wide = write_tiny_adapter(tmp_path / "wide", "tiny", replace(TINY, width=128))
    with pytest.raises(
        UserError,
        match=r"adapter of another model than .*tiny: its .* is \[128, 4\], and the model has one of \[64, 128\]",
    ):
        load(wide)
    deep = write_tiny_adapter(tmp_path / "deep", "tiny", replace(TINY, layers=3))
    with pytest.raises(UserError, match=r"layers\.2\..*the model has no such layer"):
        load(deep)


def test_a_whole_model_needs_no_base(folder: Path) -> None:
    with pytest.raises(UserError, match="needs no base"):
        load(folder, base=str(folder.parent))


def test_files_that_lie_apart_are_gathered_under_their_names(folder: Path, tmp_path: Path) -> None:
    weights = [(name, digest) for name, digest in model(folder).weights]
    assert gathered(weights) == folder
    for name in ("config.json", "model.safetensors"):
        (folder / name).rename(tmp_path / f"{name}-elsewhere")
        digest_of(tmp_path / f"{name}-elsewhere")
    found = gathered(weights)
    assert found != folder
    assert {each.name for each in found.iterdir()} == {name for name, _ in weights}
    assert (found / "config.json").read_bytes() == (tmp_path / "config.json-elsewhere").read_bytes()
    assert gathered(weights) == found
