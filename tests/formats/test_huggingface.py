"""A Hugging Face directory is read with what belongs to it, or refused by the file that is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synfire.base.errors import UserError
from synfire.formats.huggingface import belongs, is_folder, read_folder
from synfire.testing.weights import TEMPLATE, write_adapter_folder, write_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "model")


def test_what_belongs_to_a_model_is_found_and_described(folder: Path) -> None:
    found = read_folder(folder)
    assert found.weights == ("model.safetensors",)
    assert found.others == ("chat_template.jinja", "config.json", "tokenizer.json", "tokenizer_config.json")
    assert (found.architecture, found.parameters, found.precision) == ("llama", 32, "F32")
    assert (found.context_length, found.chat_template, found.is_adapter) == (64, TEMPLATE, False)
    assert is_folder(folder)
    assert not is_folder(folder.parent)


def test_weights_in_shards_are_all_found(tmp_path: Path) -> None:
    found = read_folder(write_folder(tmp_path / "model", shards=3))
    assert len(found.weights) == 3
    assert found.parameters == 3 * 32


def test_an_adapter_is_told_from_a_model(tmp_path: Path) -> None:
    found = read_folder(write_adapter_folder(tmp_path / "adapter"))
    assert (found.is_adapter, found.architecture) == (True, "lora")


@pytest.mark.parametrize(
    ("template", "found"),
    [("x", "x"), ([{"name": "default", "template": "y"}, {"name": "tools", "template": "z"}], "y"), (None, None)],
)
def test_a_chat_template_may_stand_in_the_tokenizers_config(folder: Path, template: object, found: str | None) -> None:
    (folder / "chat_template.jinja").unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    assert read_folder(folder).chat_template == found


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "holds no weights"),
    "a pickle": (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), "a pickle, which may run any code"),
    "weights cut off": (lambda f: _cut(f / "model.safetensors"), "model.safetensors is cut off or damaged"),
    "weights of nothing": (lambda f: (f / "model.safetensors").write_bytes(b""), "model.safetensors is cut off or damaged"),
    "an endless header": (lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 64), "model.safetensors is cut off"),
    "a pointer": (lambda f: (f / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1"), "git lfs pull"),
    "a config that is none": (lambda f: (f / "config.json").write_text("[]"), "config.json is cut off or damaged"),
    "a config cut off": (lambda f: _cut(f / "config.json"), "config.json is cut off or damaged"),
    "a config of nothing": (lambda f: (f / "config.json").write_text("{}"), "names no model"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "holds no tokenizer"),
    "a tokenizer cut off": (lambda f: _cut(f / "tokenizer.json"), "tokenizer.json is cut off or damaged"),
    "deep nesting": (lambda f: (f / "tokenizer.json").write_text('{"a":' + "[" * 100_000), "tokenizer.json is cut off"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_wrong_is_named_with_the_cure(folder: Path, damage: str) -> None:
    act, message = DAMAGES[damage]
    act(folder)
    with pytest.raises(UserError, match=message):
        read_folder(folder)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model", shards=2)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(
        UserError, match=r"lacks model-00002-of-00002\.safetensors, which model\.safetensors\.index\.json lists"
    ):
        read_folder(folder)


@given(place=st.integers(0, 200), value=st.binary(min_size=1, max_size=9))
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_weights_are_read_or_refused_and_nothing_else(folder: Path, place: int, value: bytes) -> None:
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:place] + value + whole[place + len(value) :])
    try:
        refusal = _refusal(folder)
    finally:
        file.write_bytes(whole)
    assert refusal is None or "model.safetensors is cut off or damaged" in refusal


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.model", "model-00001-of-00002.safetensors", "LICENSE", "1_Pooling/config.json"]
)
def test_these_files_belong_to_a_model(name: str) -> None:
    assert belongs(name)


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "pytorch_model.bin",
        "modeling.py",
        "onnx/model.onnx",
        "original/params.json",
        "../x.json",
        "a.gguf",
        "consolidated.safetensors",
    ],
)
def test_these_files_do_not_belong_to_a_model(name: str) -> None:
    assert not belongs(name)


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-5])


def _refusal(folder: Path) -> str | None:
    try:
        read_folder(folder)
    except UserError as error:
        return str(error)
    return None
