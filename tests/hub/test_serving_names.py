"""A model of weights is served by its name in the store, or refused with the way to serve it."""

from __future__ import annotations

from pathlib import Path

import pytest

from synfire.base.errors import UnknownName, UserError
from synfire.formats.modelfile import parse_modelfile
from synfire.hub.create import create
from synfire.hub.pull import pull
from synfire.hub.source import Into
from synfire.ops.language_model import LanguageModel
from synfire.store import ModelName
from synfire.testing.weights import adapter, language_model, write_folder
from synfire.zoo import find


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "shake.gguf"
    path.write_bytes(language_model())
    return path


def test_a_pulled_model_is_found_by_its_name(file: Path, into: Into) -> None:
    pull(str(file), into, ModelName("shake", "q8"))
    pull(str(file), into)
    by_path = find(str(file))
    for name in ("shake:q8", "shake", "other=shake:q8"):
        found = find(name)
        assert found.name == name.partition("=")[0]
        assert found.graph.metadata == by_path.graph.metadata
        assert Path(found.source).read_bytes() == language_model()
    assert find("shake:latest").name == "shake"


def test_what_a_modelfile_says_goes_with_the_model(file: Path, into: Into) -> None:
    (file.parent / "lora.gguf").write_bytes(adapter())
    text = (
        "FROM shake.gguf\nADAPTER lora.gguf\nSYSTEM Be brief.\nTEMPLATE {{ .Prompt }}\nPARAMETER seed 1\nPARAMETER num_ctx 5\n"
        "MESSAGE user Hi\nMESSAGE assistant Ho"
    )
    create(ModelName("bard"), parse_modelfile(text), file.parent, into)
    found = find("bard")
    language = found.graph.metadata["language"]
    assert (language["system"], language["template"], language["params"]) == ("Be brief.", "{{ .Prompt }}", {"seed": 1})
    assert [each["content"] for each in language["messages"]] == ["Hi", "Ho"]
    (model,) = found.graph.operators.values()
    assert isinstance(model, LanguageModel)
    assert model.context == 5
    assert [name for name, _ in model.weights][1:] == ["adapter/0.gguf"]
    assert model.weight_bytes == len(language_model()) + len(adapter())
    assert find("bard").graph.content_digest() == found.graph.content_digest()


def test_an_adapter_alone_is_no_model(file: Path, into: Into) -> None:
    (file.parent / "lora.gguf").write_bytes(adapter())
    pull(str(file.parent / "lora.gguf"), into)
    with pytest.raises(UserError, match=r"lora:latest is an adapter and no model; name it in a Modelfile"):
        find("lora")


def test_a_directory_is_found_by_its_name_with_its_files(tmp_path: Path, into: Into) -> None:
    pull(str(write_folder(tmp_path / "base")), into)
    found = find("base")
    (model,) = found.graph.operators.values()
    assert isinstance(model, LanguageModel)
    assert (Path(found.source) / "config.json").is_file()
    assert dict(model.weights) == dict(find(str(tmp_path / "base")).graph.operators["model"].weights)


def test_weights_that_are_gone_are_told(file: Path, into: Into) -> None:
    pull(str(file), into)
    Path(find("shake").source).unlink()
    with pytest.raises(UserError, match=r"the weights of shake:latest are gone.*synfire pull shake"):
        find("shake")


def test_an_unknown_model_is_answered_with_names_of_every_kind(file: Path, into: Into) -> None:
    pull(str(file), into, ModelName("shake", "q8"))
    with pytest.raises(UnknownName, match=r"known: .*shake:q8, .*svgg-digits"):
        find("nothing")
