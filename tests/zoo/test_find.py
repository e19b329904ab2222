from __future__ import annotations

from pathlib import Path

import pytest

from synfire.base.errors import UnknownName, UserError
from synfire.formats import write_bundle
from synfire.formats.bundle import store_graph
from synfire.store import BlobStore, Catalog
from synfire.zoo import card, find, load, names, told_apart


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNFIRE_HOME", str(tmp_path / "home"))


def test_a_zoo_name_comes_first() -> None:
    found = find("svgg-digits")
    assert (found.name, found.source, found.version) == ("svgg-digits", "zoo", "1")


def test_a_folder_is_called_after_itself(tmp_path: Path) -> None:
    write_bundle(load("svgg-digits"), tmp_path / "mine")
    assert find(str(tmp_path / "mine")).name == "mine"


def test_a_path_can_be_given_a_name(tmp_path: Path) -> None:
    write_bundle(load("svgg-digits"), tmp_path / "mine")
    assert find(f"other={tmp_path / 'mine'}").name == "other"


def test_a_zoo_model_can_be_given_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = find("other=svgg-digits")
    assert (found.name, found.source) == ("other", "zoo")
    monkeypatch.chdir(tmp_path)
    write_bundle(load("scnn-digits"), tmp_path / "svgg-digits")
    assert find("other=svgg-digits").graph.content_digest() == load("scnn-digits").content_digest()
    with pytest.raises(UserError, match="letters, digits"):
        find("a b=svgg-digits")


def test_an_imported_model_has_versions() -> None:
    for name in ("svgg-digits", "scnn-digits"):
        Catalog().add("mine", store_graph(load(name), BlobStore()))
    assert find("mine").version == "2"
    first = find("mine@1")
    assert first.version == "1"
    assert first.graph.content_digest() == load("svgg-digits").content_digest()


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="svgg-digits"):
        find("svgg-digit")


def test_an_unknown_version_is_refused_with_the_known_ones() -> None:
    Catalog().add("mine", store_graph(load("svgg-digits"), BlobStore()))
    with pytest.raises(UnknownName, match="mine@1"):
        find("mine@7")


def test_a_name_that_no_url_could_hold_is_refused(tmp_path: Path) -> None:
    write_bundle(load("svgg-digits"), tmp_path / "mine")
    with pytest.raises(UserError, match="letters, digits"):
        find(f"a b={tmp_path / 'mine'}")


@pytest.mark.parametrize("name", names())
def test_every_zoo_model_has_a_card_and_a_name_of_family_and_data(name: str) -> None:
    assert card(name)
    assert "-" in name
    assert load(name).metadata["accuracy"] > 0.7


def test_a_zoo_model_that_is_none_is_refused() -> None:
    with pytest.raises(UnknownName, match="svgg-digits"):
        load("svgg")


def test_models_of_one_name_are_told_apart_by_their_versions() -> None:
    found = [find("net@1=svgg-digits"), find("net@2=sresnet-digits"), find("scnn-digits")]
    assert [(each.name, each.version) for each in found[:2]] == [("net", "1"), ("net", "2")]
    assert [each.name for each in told_apart(found)] == ["net@1", "net@2", "scnn-digits"]
    assert [each.name for each in told_apart(found[1:])] == ["net", "scnn-digits"]


def test_one_version_twice_is_refused_with_the_cure() -> None:
    with pytest.raises(
        UserError, match=r"two models are called net, version 1; .* another version with NAME@VERSION=MODEL"
    ):
        told_apart([find("net=svgg-digits"), find("net@1=scnn-digits")])
    with pytest.raises(UserError, match="'a/b' is no model name"):
        find("net@a/b=svgg-digits")
