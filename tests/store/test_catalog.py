"""The catalog of stored models."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from synfire.base.errors import Bug, PermanentError, UnknownName, UserError
from synfire.store import Catalog

FIRST, SECOND = "1" * 64, "2" * 64


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog(tmp_path / "home" / "catalog.sqlite")


def test_versions_count_up_and_a_name_means_the_newest(catalog: Catalog) -> None:
    assert str(catalog.add("net", FIRST)) == "net@1"
    assert str(catalog.add("net", SECOND)) == "net@2"
    assert catalog.find("net").manifest == SECOND
    assert catalog.find("net@1").manifest == FIRST
    assert [str(each) for each in catalog.entries()] == ["net@1", "net@2"]


def test_adding_the_newest_content_again_makes_no_version(catalog: Catalog) -> None:
    catalog.add("net", FIRST)
    assert catalog.add("net", FIRST).version == 1
    assert len(catalog.entries()) == 1


def test_a_removed_version_is_gone_and_others_stay(catalog: Catalog) -> None:
    catalog.add("net", FIRST)
    catalog.add("net", SECOND)
    catalog.remove("net")
    assert catalog.find("net").version == 1


def test_an_unknown_model_is_answered_with_the_known_ones(catalog: Catalog) -> None:
    catalog.add("net", FIRST)
    for wrong in ("other", "net@7"):
        with pytest.raises(UnknownName, match="known: net@1"):
            catalog.find(wrong)


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a@1", "-x", "x" * 129])
def test_names_that_could_be_mistaken_are_refused(catalog: Catalog, name: str) -> None:
    with pytest.raises(UserError, match="use letters, digits"):
        catalog.add(name, FIRST)


def test_a_version_is_a_whole_number(catalog: Catalog) -> None:
    with pytest.raises(UserError, match="name@n"):
        catalog.find("net@latest")


def test_a_damaged_file_is_named_with_the_cure(catalog: Catalog) -> None:
    catalog.path.parent.mkdir()
    catalog.path.write_bytes(b"no database at all" * 100)
    with pytest.raises(PermanentError, match=r"is damaged.*import the models again"):
        catalog.entries()


def test_two_catalogs_on_one_file_see_each_other(catalog: Catalog) -> None:
    catalog.add("net", FIRST)
    assert Catalog(catalog.path).find("net").manifest == FIRST


def test_a_failed_call_leaves_the_file_unlocked(catalog: Catalog) -> None:
    with pytest.raises(UnknownName):
        catalog.find("net")
    with sqlite3.connect(catalog.path, timeout=0) as other:
        other.execute("BEGIN IMMEDIATE")


def test_a_journal_is_read_newest_last(catalog: Catalog) -> None:
    for number in range(4):
        catalog.append("recovery", str(number), f"what happened {number}")
    assert catalog.recent("recovery", 2) == ["what happened 2", "what happened 3"]
    assert catalog.recent("other", 2) == []


def test_the_same_entry_again_adds_nothing_and_another_of_its_id_is_refused(catalog: Catalog) -> None:
    catalog.append("recovery", "1", "first")
    catalog.append("recovery", "1", "first")
    catalog.append("other", "1", "of another kind")
    with pytest.raises(Bug, match="ids are given once"):
        catalog.append("recovery", "1", "second")
    assert catalog.recent("recovery", 9) == ["first"]


def test_a_catalog_from_before_journals_gets_one(catalog: Catalog) -> None:
    catalog.add("net", FIRST)
    with sqlite3.connect(catalog.path) as old:
        old.execute("DROP TABLE journal")
    catalog.append("recovery", "1", "first")
    assert catalog.recent("recovery", 1) == ["first"]
    assert str(catalog.find("net")) == "net@1"


def test_a_journal_gives_all_entries_whose_ids_begin_alike(catalog: Catalog) -> None:
    for entry in ("a-1", "ab-1", "a-x-2", "b-1"):
        catalog.append("kind", entry, entry)
    catalog.append("other", "a-3", "a-3")
    assert catalog.begun("kind", "a-") == ["a-1", "a-x-2"]
    assert catalog.begun("kind", "%") == []
