"""NIM's variables start the same models."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from synfire.base.errors import UserError
from synfire.cli import nim
from synfire.cli.models import Reading, find_all
from synfire.testing.language_folders import write_tiny_adapter, write_tiny_folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SYNFIRE_CACHE", str(tmp_path / "cache"))
    return write_tiny_folder(tmp_path / "tiny")


def test_nothing_is_asked_where_no_variable_is_set() -> None:
    assert nim.asked({"PATH": "/bin"}) == nim.Asked()


def test_a_directory_is_served_under_the_first_of_its_names(folder: Path) -> None:
    assert nim.asked({nim.MODEL: str(folder)}).models == (str(folder),)
    assert nim.asked({nim.MODEL_NAME: str(folder), nim.SERVED_NAME: "meta/llama, other"}).models == (
        f"meta-llama={folder}",
    )


def test_every_adapter_is_served_under_its_folders_name(folder: Path, tmp_path: Path) -> None:
    for name in ("bard", "clerk"):
        write_tiny_adapter(tmp_path / "adapters" / name, "someone/else")
    (tmp_path / "adapters" / "notes").mkdir()
    asked = nim.asked({nim.MODEL: str(folder), nim.SERVED_NAME: "main", nim.ADAPTERS: str(tmp_path / "adapters")})
    found = find_all(asked.models, Reading(base=asked.base))
    assert [model.name for model in found] == ["main", "bard", "clerk"]


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({nim.MODEL: "/nowhere"}, f"{nim.MODEL} is /nowhere, and nothing is there"),
        ({"NIM_SSL_MODE": "TLS"}, "NIM_SSL_MODE=TLS cannot be had here.*leave it out"),
        ({"NIM_FORCE_TRUST_REMOTE_CODE": "1"}, "no code that comes with a model"),
    ],
)
def test_what_cannot_be_is_refused_by_name(variables: dict[str, str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        nim.asked(variables)


def test_a_switch_that_is_off_is_no_error() -> None:
    assert nim.asked({"NIM_SSL_MODE": "DISABLED", "NIM_FORCE_TRUST_REMOTE_CODE": "0"}) == nim.Asked()


def test_adapters_are_looked_for_in_a_directory(folder: Path) -> None:
    with pytest.raises(UserError, match="no directory"):
        nim.asked({nim.MODEL: str(folder), nim.ADAPTERS: str(folder / "config.json")})


def test_our_own_variables_are_set_where_they_are_not() -> None:
    environment = {nim.CACHE: "/cache", nim.LOG_LEVEL: "trace"}
    nim.settle(environment)
    assert (environment["SYNFIRE_CACHE"], environment["SYNFIRE_LOG"]) == ("/cache", "DEBUG")
    environment = {nim.CACHE: "/cache", "SYNFIRE_CACHE": "/mine", nim.JSON_LOG: "1", nim.LOG_LEVEL: "INFO"}
    nim.settle(environment)
    assert (environment["SYNFIRE_CACHE"], environment["SYNFIRE_LOG"]) == ("/mine", "json")


def test_others_are_told_to_have_no_effect() -> None:
    assert nim.without_effect({"NIM_TENSOR_PARALLEL_SIZE": "2", nim.MODEL: "x", "HOME": "/"}) == [
        "NIM_TENSOR_PARALLEL_SIZE"
    ]


def test_the_table_has_every_variable_that_is_understood_or_refused() -> None:
    page = (Path(__file__).parents[2] / "docs" / "nim.md").read_text()
    known = set(re.findall(r"`(NIM_[A-Z_]+)`", page))
    assert {*nim.UNDERSTOOD, *nim.REFUSED} <= known
