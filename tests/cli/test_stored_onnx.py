"""ONNX models by stored names: pulled with the files beside them, listed, shown, served, and loaded when they are called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
from served import serving

from synfire.cli import runs
from synfire.testing.onnx_models import Node, write_onnx
from synfire.wire.client import Client

onnx = pytest.importorskip("onnx", reason="needs the package onnx")
pytest.importorskip("onnxruntime", reason="needs the extra `onnx`")

WEIGHTS = {"w": np.arange(6, dtype=np.float32).reshape(3, 2)}
X = {"x": np.ones((2, 3), np.float32)}


@pytest.fixture
def pulled(run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A model in the store, with its weights in a file of their own; where it came from both are gone."""
    monkeypatch.setenv("SYNFIRE_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "rows.onnx"
    write_onnx(file, [Node("MatMul", "x w", "y")], {"x": ("FLOAT", ["n", 3])}, {"y": ("FLOAT", ["n", 2])}, WEIGHTS)
    model = onnx.load(file)
    file.unlink()
    onnx.save_model(model, file, save_as_external_data=True, location="rows.bin", size_threshold=0)
    ran = run("pull", str(file), "--name", "rows:v1")
    assert ran.code == 0, ran.err
    for each in (file, tmp_path / "rows.bin"):
        each.unlink()
    return "rows:v1"


def test_a_pulled_onnx_model_is_listed_shown_copied_and_removed(run: Callable, pulled: str) -> None:
    (listed,) = [each for each in run("list", "--json").json["models"] if each["name"] == pulled]
    assert listed["bytes" if "bytes" in listed else "parameter_bytes"] > 0
    shown = run("show", pulled, "--json").json
    assert (shown["model_format"], shown["adapter"], shown["chat_template"]) == ("onnx", False, None)
    assert [each["name"] for each in shown["layers"]] == ["rows.onnx", "rows.bin"]
    assert run("show", pulled).code == 0
    assert run("cp", pulled, "rows").code == 0
    assert run("pull", "rows:v1").code == 2  # where it came from is gone
    assert run("rm", pulled, "rows").code == 0


def test_it_is_called_without_a_name_by_its_file(run: Callable, tmp_path: Path) -> None:
    write_onnx(tmp_path / "plain.onnx", [Node("Identity", "x", "y")], {"x": ("FLOAT", [2])}, {"y": ("FLOAT", [2])})
    assert run("pull", str(tmp_path / "plain.onnx")).code == 0
    assert "plain:latest" in {each["name"] for each in run("list", "--json").json["models"]}


def test_what_a_modelfile_says_of_chats_is_refused_when_it_is_served(
    run: Callable, pulled: str, tmp_path: Path
) -> None:
    (tmp_path / "Modelfile").write_text(f"FROM {pulled}\nSYSTEM Be brief.\n")
    assert run("create", "chatty", "-f", str(tmp_path / "Modelfile")).code == 0
    ran = run("serve", "chatty", "--port", "0")
    assert ran.code == 2
    assert "is an ONNX model, which reads no chats, and its Modelfile has system" in ran.err


def test_a_damaged_file_is_refused_before_anything_is_stored(run: Callable, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    ran = run("pull", str(tmp_path / "bad.onnx"))
    assert ran.code == 2
    assert "bad.onnx" in ran.err


@pytest.mark.slow
def test_it_is_served_by_its_name(pulled: str) -> None:
    with serving([f"net={pulled}"]) as (_, line), Client(line["url"]) as client:
        np.testing.assert_array_equal(client.infer("net", X).outputs["y"], X["x"] @ WEIGHTS["w"])


@pytest.mark.slow
def test_it_is_loaded_when_it_is_called_or_asked_about(pulled: str) -> None:
    with serving([]) as (_, line), httpx.Client(base_url=line["url"], timeout=60) as http:
        index = http.post("/v2/repository/index", json={}).json()
        assert [(each["name"], each["state"]) for each in index] == [(pulled, "UNAVAILABLE")]
        assert http.get("/v1/models").json()["data"] == []
        assert [each["name"] for each in http.get(f"/v2/models/{pulled}").json()["inputs"]] == ["x"]
        with Client(line["url"]) as client:
            np.testing.assert_array_equal(client.infer(pulled, X).outputs["y"], X["x"] @ WEIGHTS["w"])
        assert [each.name for each in runs.running()[0].models] == [pulled]
