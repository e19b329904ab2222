"""A Modelfile makes a model of what is there, and a model's Modelfile makes it again."""

from __future__ import annotations

from pathlib import Path

import pytest

from synfire.base.errors import UserError
from synfire.formats.modelfile import parse_modelfile
from synfire.hub import resolve
from synfire.hub.create import create, modelfile_of
from synfire.hub.files import Message
from synfire.hub.garbage import references
from synfire.hub.pull import pull
from synfire.hub.source import Into
from synfire.store import ModelName, Tagged
from synfire.testing.weights import adapter, language_model, write_adapter_folder, write_folder

BARD = ModelName("bard")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the Modelfile and its files are."""
    (tmp_path / "shake.gguf").write_bytes(language_model())
    (tmp_path / "lora.gguf").write_bytes(adapter())
    return tmp_path


def made(text: str, folder: Path, into: Into, name: ModelName = BARD) -> Tagged:
    return create(name, parse_modelfile(text), folder, into)


WHOLE = '''FROM ./shake.gguf
ADAPTER lora.gguf
SYSTEM """
You speak as "Shakespeare".
"""
TEMPLATE "{{ .System }}
{{ .Prompt }}"
PARAMETER temperature 0.5
PARAMETER stop "<|im_end|>"
PARAMETER stop " two "
PARAMETER use_mmap true
MESSAGE user hello
LICENSE MIT
LICENSE Apache-2.0
REQUIRES 0.14.0
'''


def test_all_that_a_modelfile_says_is_in_the_model(folder: Path, into: Into) -> None:
    made(WHOLE, folder, into)
    files = resolve("bard")
    assert files.weights.read_bytes() == language_model()
    assert [each.read_bytes() for each in files.adapters] == [adapter()]
    assert files.system == '\nYou speak as "Shakespeare".\n'
    assert files.template == "{{ .System }}\n{{ .Prompt }}"
    assert files.params == {"temperature": 0.5, "stop": ["<|im_end|>", " two "], "use_mmap": True}
    assert files.messages == (Message("user", "hello"),)
    assert files.licenses == ("MIT", "Apache-2.0")
    assert (files.described.requires, files.described.model_family) == ("0.14.0", "llama")


def test_a_models_modelfile_makes_it_again(folder: Path, into: Into) -> None:
    first = made(WHOLE, folder, into)
    again = made(str(modelfile_of(resolve("bard"))), folder, into, ModelName("again"))
    assert again.manifest == first.manifest


def test_a_directory_is_a_base_with_an_adapter_of_its_kind(folder: Path, into: Into) -> None:
    write_folder(folder / "base")
    write_adapter_folder(folder / "peft")
    made("FROM base\nADAPTER peft\n", folder, into)
    files = resolve("bard")
    assert (files.weights / "config.json").is_file()
    assert [each.name for each in files.adapters] == ["adapter"]
    assert (files.adapters[0] / "adapter_config.json").is_file()
    assert made(str(modelfile_of(files)), folder, into).manifest == files.digest


def test_a_model_of_the_store_is_a_base_and_what_it_has_is_inherited(folder: Path, into: Into) -> None:
    made(WHOLE, folder, into)
    made(
        'FROM bard\nPARAMETER temperature 1\nPARAMETER seed 3\nSYSTEM ""\nLICENSE MIT\n',
        folder,
        into,
        ModelName("fool"),
    )
    files = resolve("fool")
    assert files.params == {"temperature": 1.0, "stop": ["<|im_end|>", " two "], "use_mmap": True, "seed": 3}
    assert files.system is None
    assert files.template == "{{ .System }}\n{{ .Prompt }}"
    assert files.licenses == ("MIT", "Apache-2.0")
    assert (len(files.adapters), files.described.requires) == (1, "0.14.0")


def test_a_model_outlives_the_one_that_it_was_made_from(folder: Path, into: Into) -> None:
    pull(str(folder / "shake.gguf"), into)
    made("FROM shake\nSYSTEM x\n", folder, into)
    into.store.remove(ModelName("shake"), references)
    resolve("bard").verify()


def test_a_model_of_the_same_name_is_replaced(folder: Path, into: Into) -> None:
    made("FROM shake.gguf\nSYSTEM one\n", folder, into)
    made("FROM shake.gguf\nSYSTEM two\n", folder, into)
    assert resolve("bard").system == "two"


def test_a_name_comes_before_a_path_and_a_path_with_a_dot_is_one(folder: Path, into: Into) -> None:
    pull(str(folder / "shake.gguf"), into, ModelName("x"))
    write_folder(folder / "x")
    made("FROM x\n", folder, into)
    assert resolve("bard").is_gguf
    made("FROM ./x\n", folder, into)
    assert not resolve("bard").is_gguf


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FROM nothing\n", "line 1, FROM: 'nothing' is no model in the store and no file.*pull it first"),
        ("FROM shake.gguf\nADAPTER nothing\n", "line 2, ADAPTER: 'nothing' is no model"),
        ("FROM shake.gguf\nADAPTER shake.gguf\n", "line 2, ADAPTER: 'shake.gguf' is a model and no adapter"),
        ("FROM lora.gguf\nADAPTER lora.gguf\n", "line 2, ADAPTER: 'lora.gguf' of FROM is an adapter itself"),
        ("FROM shake.gguf\nADAPTER other.gguf\n", "an adapter of another base: of a qwen2 model, and FROM is a llama"),
        ("FROM shake.gguf\nADAPTER peft\n", "'peft' is safetensors and the model of FROM gguf; convert one"),
        ("FROM base\nADAPTER lora.gguf\n", "'lora.gguf' is gguf and the model of FROM safetensors"),
        ("FROM base\nADAPTER peft\nADAPTER peft2\n", "names several adapters that are directories"),
        ("FROM text.txt\n", "is no model of weights"),
    ],
)
def test_what_does_not_fit_is_named_by_its_line(folder: Path, into: Into, text: str, message: str) -> None:
    (folder / "other.gguf").write_bytes(adapter("qwen2"))
    (folder / "text.txt").write_text("words")
    write_folder(folder / "base")
    write_adapter_folder(folder / "peft")
    write_adapter_folder(folder / "peft2", seed=1)
    with pytest.raises(UserError, match=message):
        made(text, folder, into)
    assert into.store.names() == []
