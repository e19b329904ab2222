"""Models of weights on the command line: pulled, made, listed, shown, named, removed, carried."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from synfire.hub import resolve
from synfire.store import ModelStore
from synfire.testing.weights import adapter, language_model, write_folder


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "shake.gguf"
    path.write_bytes(language_model())
    (tmp_path / "lora.gguf").write_bytes(adapter())
    (tmp_path / "Modelfile").write_text('FROM shake\nADAPTER lora.gguf\nSYSTEM "Be brief."\nPARAMETER seed 3\n')
    return path


def test_a_file_is_pulled_listed_shown_and_removed(run: Callable, file: Path) -> None:
    pulled = run("pull", str(file), "--name", "shake:q8", "--json").json
    assert (pulled["model"], pulled["changed"], pulled["source"]) == ("shake:q8", True, str(file))
    (listed,) = [each for each in run("list", "--json").json["models"] if each["name"] == "shake:q8"]
    assert (listed["family"], listed["precision"], listed["manifest"]) == ("llama", "F32", pulled["manifest"])
    assert listed["parameter_bytes"] == pulled["bytes"]
    assert "shake:q8" in run("list").out
    shown = run("show", "shake:q8")
    assert "shake:q8: a llama model in gguf, 384 parameters as F32" in shown.out
    assert "chat template: yes" in shown.out
    assert "removed shake:q8: 3 files" in run("rm", "shake:q8").out
    assert list(ModelStore().blobs) == []


def test_a_model_is_created_and_its_modelfile_makes_it_again(run: Callable, file: Path, tmp_path: Path) -> None:
    run("pull", str(file))
    made = run("create", "bard", "-f", str(tmp_path / "Modelfile"), "--json").json
    shown = run("show", "bard", "--json").json
    assert (shown["system"], shown["parameters"], shown["manifest"]) == ("Be brief.", {"seed": 3}, made["manifest"])
    assert [each["mediaType"].rpartition(".")[2] for each in shown["layers"]] == [
        "model",
        "adapter",
        "system",
        "params",
    ]
    (tmp_path / "again").write_text(run("show", "bard", "--modelfile").out)
    assert run("create", "again", "-f", str(tmp_path / "again"), "--json").json["manifest"] == made["manifest"]


def test_a_wrong_modelfile_is_named_with_its_line(run: Callable, file: Path, tmp_path: Path) -> None:
    (tmp_path / "Modelfile").write_text("FROM shake.gguf\nPARAMETER tempreature 1\n")
    ran = run("create", "bard", "-f", str(tmp_path / "Modelfile"))
    assert (ran.code, ran.out) == (2, "")
    assert "Modelfile, line 2: 'tempreature' is no parameter (did you mean temperature?)" in ran.err


def test_a_parameter_of_the_past_is_told(run: Callable, file: Path, tmp_path: Path) -> None:
    (tmp_path / "Modelfile").write_text("FROM shake.gguf\nPARAMETER mirostat 1\n")
    assert "mirostat is without effect" in run("create", "bard", "-f", str(tmp_path / "Modelfile")).err


def test_a_second_name_keeps_the_files(run: Callable, file: Path) -> None:
    run("pull", str(file))
    assert run("cp", "shake", "x:x", "--json").json == {"model": "shake", "copy": "x:x"}
    assert run("rm", "shake", "--json").json["removed"] == [{"model": "shake", "blobs": 0, "bytes": 0}]
    assert run("cp", "x:x", "again").out == "again:latest stands for what x:x stands for\n"
    resolve("again").verify()


def test_graphs_have_second_names_and_are_removed_too(run: Callable, bundle: Path) -> None:
    run("import", str(bundle))
    assert run("cp", "tiny", "other").out.startswith("other@1 stands for")
    assert run("rm", "tiny@1").out.startswith("removed tiny@1: 0 files")
    assert run("show", "other").code == 0
    assert run("rm", "other", "--json").json["removed"][0]["blobs"] > 1
    assert list(ModelStore().blobs) == []


def test_what_comes_with_synfire_stays(run: Callable) -> None:
    ran = run("rm", "svgg-digits")
    assert ran.code == 2
    assert "comes with synfire and stays" in ran.err


def test_a_model_that_is_served_stays(run: Callable, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Served:
        name, source = "shake", "shake"

    class Run:
        id, models, store = "8000", (Served,), True

    run("pull", str(file))
    monkeypatch.setattr("synfire.cli.naming.runs.running", lambda: (Run,))
    ran = run("rm", "shake")
    assert ran.code == 2
    told = " ".join(ran.err.split())
    assert "shake is served by the deployment 8000; stop that first: synfire stop 8000, or, where a call has" in told
    assert "unload it: synfire stop shake" in told
    assert resolve("shake").weights.exists()


def test_models_are_carried_in_a_bundle(
    run: Callable, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("pull", str(file))
    run("pull", str(write_folder(tmp_path / "base")))
    out = tmp_path / "models.tar.zst"
    said = run("bundle", "shake", "base", "svgg-digits", "-o", str(out)).out
    assert "3 models of" in said
    assert "not signed; --key signs it" in said
    monkeypatch.setenv("SYNFIRE_HOME", str(tmp_path / "elsewhere"))
    ran = run("unbundle", str(out))
    assert "shake:latest is in the store\nbase:latest is in the store\nsvgg-digits was here already\n" in ran.out
    assert "the bundle is not signed" in ran.out
    assert run("unbundle", str(out), "--json").json["already_there"] == ["shake:latest", "base:latest", "svgg-digits"]
    resolve("base").verify()


def test_a_broken_bundle_is_named(run: Callable, file: Path, tmp_path: Path, home: Path) -> None:
    run("pull", str(file))
    out = tmp_path / "models.tar.zst"
    run("bundle", "shake", "-o", str(out))
    out.write_bytes(out.read_bytes()[:-30])
    ran = run("unbundle", str(out), "--json")
    assert (ran.code, ran.json["kind"]) == (2, "UserError")
    assert "models.tar.zst is damaged: what comes after synfire-bundle.json" in ran.json["error"]
    assert "copy the bundle again" in ran.json["error"]


def test_what_is_no_model_of_weights_has_no_modelfile(run: Callable) -> None:
    ran = run("show", "svgg-digits", "--modelfile")
    assert ran.code == 2
    assert "is a graph, and has no Modelfile" in ran.err


def test_a_damaged_model_is_listed_and_told_of(run: Callable, file: Path) -> None:
    pulled = run("pull", str(file), "--json").json
    blobs = ModelStore().blobs
    blobs.path(pulled["manifest"]).write_bytes(b"damaged")
    (listed,) = [each for each in json.loads(run("list", "--json").out)["models"] if each["name"] == "shake:latest"]
    assert listed["format"] == "damaged"
    assert run("rm", "shake").code == 0


def test_progress_for_people_is_on_standard_error(run: Callable, file: Path) -> None:
    ran = run("pull", str(file), "--json")
    assert (ran.err, len(ran.out.splitlines())) == ("", 1)
