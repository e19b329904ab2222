"""A model of weights is served by its name in the store, or refused with the way to serve it."""

from __future__ import annotations

from pathlib import Path

import pytest

from synfire.base.errors import UnknownName, UserError
from synfire.formats.modelfile import parse_modelfile
from synfire.hub.create import create
from synfire.hub.pull import pull
from synfire.hub.source import Into
from synfire.store import ModelName
from synfire.testing.weights import language_model, write_folder
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


def test_a_model_that_has_more_than_weights_is_refused_with_what_is_left_out(file: Path, into: Into) -> None:
    create(ModelName("bard"), parse_modelfile("FROM shake.gguf\nSYSTEM x\nPARAMETER seed 1"), file.parent, into)
    with pytest.raises(
        UserError, match=r"bard:latest has params, system beside its weights.*serve the weights alone: bard=/"
    ):
        find("bard")


def test_a_directory_is_served_by_its_path(tmp_path: Path, into: Into) -> None:
    pull(str(write_folder(tmp_path / "base")), into)
    with pytest.raises(UserError, match=r"base:latest has no GGUF file.*serve its directory"):
        find("base")


def test_weights_that_are_gone_are_told(file: Path, into: Into) -> None:
    pull(str(file), into)
    Path(find("shake").source).unlink()
    with pytest.raises(UserError, match=r"the weights of shake:latest are gone.*synfire pull shake"):
        find("shake")


def test_an_unknown_model_is_answered_with_names_of_every_kind(file: Path, into: Into) -> None:
    pull(str(file), into, ModelName("shake", "q8"))
    with pytest.raises(UnknownName, match=r"known: .*shake:q8, .*svgg-digits"):
        find("nothing")
