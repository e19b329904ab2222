"""ONNX models give what ONNX Runtime alone gives, whatever they take and give."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synfire.base.errors import PermanentError, UserError
from synfire.engines import ENGINES, Program
from synfire.engines import onnxruntime as engine
from synfire.formats import load
from synfire.ops import Array
from synfire.testing.examples import stream
from synfire.testing.onnx_models import Node, write_onnx

onnx = pytest.importorskip("onnx", reason="needs the package onnx")
pytest.importorskip("onnxruntime", reason="needs the extra `onnx`")

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    return partial(write_onnx, tmp_path / "tiny.onnx")


def program(path: Path) -> Program:
    made = ENGINES["onnxruntime"]().build(load(path))
    made.warm()
    return made


def run(made: Program, **inputs: Array) -> dict[str, Array]:
    return made.run({}, inputs, 0)[1]


def test_a_model_gives_all_its_outputs(save: Save) -> None:
    path = save(
        [Node("Add", "x y", "sum"), Node("Mul", "x y", "product")],
        {"x": ("FLOAT", ["n", 3]), "y": ("FLOAT", ["n", 3])},
        {"sum": ("FLOAT", ["n", 3]), "product": ("FLOAT", ["n", 3])},
    )
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    found = run(program(path), x=x, y=x + 1)
    assert found["sum"].tolist() == (x + x + 1).tolist()
    assert found["product"].tolist() == (x * (x + 1)).tolist()


def test_samples_are_computed_together_where_the_first_axis_counts_them(save: Save) -> None:
    rows = save([Node("Relu", "x", "y")], {"x": ("FLOAT", ["n", 3])}, {"y": ("FLOAT", ["n", 3])})
    assert program(rows).joins
    assert load(rows).batches


@pytest.mark.parametrize(
    ("nodes", "shapes"),
    [
        ([Node("Softmax", "x", "y", {"axis": 0})], (["n", 3], ["n", 3])),
        ([Node("Relu", "x", "y")], ([1, 3], [1, 3])),
        ([Node("Relu", "x", "y")], (["n", "m"], ["n", "m"])),
        ([Node("Relu", "x", "y")], (["n", 3], ["k", 3])),
        ([Node("Relu", "x", "y")], ([], [])),
    ],
    ids=["samples that depend on each other", "fixed", "two open axes", "axes of unlike names", "a scalar"],
)
def test_requests_are_computed_one_by_one_where_it_does_not(save: Save, nodes: Any, shapes: Any) -> None:
    path = save(nodes, {"x": ("FLOAT", shapes[0])}, {"y": ("FLOAT", shapes[1])})
    assert not program(path).joins


def test_axes_that_the_model_leaves_open_may_have_any_size(save: Save) -> None:
    made = program(save([Node("Relu", "x", "y")], {"x": ("FLOAT", ["n", "m"])}, {"y": ("FLOAT", ["n", "m"])}))
    for shape in ((1, 1), (2, 5), (3, 0)):
        x = np.full(shape, -1, np.float32)
        assert run(made, x=x[None])["y"].shape == (1, *shape)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        *(("BOOL", "bool"), ("INT8", "int8"), ("INT16", "int16"), ("INT32", "int32"), ("INT64", "int64")),
        *(("UINT8", "uint8"), ("UINT16", "uint16"), ("UINT32", "uint32"), ("UINT64", "uint64")),
        *(("FLOAT16", "float16"), ("FLOAT", "float32"), ("DOUBLE", "float64")),
    ],
)
def test_numbers_of_every_format_go_in_and_out(save: Save, kind: str, dtype: str) -> None:
    made = program(save([Node("Identity", "x", "y")], {"x": (kind, ["n", 2])}, {"y": (kind, ["n", 2])}))
    x = np.array([[0, 1], [1, 0]], dtype)
    found = run(made, x=x)["y"]
    assert found.dtype == x.dtype
    assert found.tolist() == x.tolist()


def test_texts_go_in_and_out_as_bytes(save: Save) -> None:
    made = program(save([Node("Identity", "x", "y")], {"x": ("STRING", ["n"])}, {"y": ("STRING", ["n"])}))
    x = np.array(["spike", "Fußgänger", ""], object)
    assert run(made, x=np.array([each.encode() for each in x], object))["y"].tolist() == [each.encode() for each in x]
    with pytest.raises(UserError, match="UTF-8"):
        run(made, x=np.array([b"\xff"], object))


def test_inputs_that_the_model_refuses_are_the_callers_fault(save: Save) -> None:
    made = program(
        save(
            [Node("MatMul", "x y", "z")],
            {"x": ("FLOAT", ["a", "b"]), "y": ("FLOAT", ["c", "d"])},
            {"z": ("FLOAT", ["a", "d"])},
        )
    )
    with pytest.raises(UserError, match="does not take these inputs"):
        run(made, x=np.ones((1, 2, 3), np.float32), y=np.ones((1, 4, 2), np.float32))


def test_an_output_that_is_not_as_the_file_says_is_no_answer(save: Save) -> None:
    path = save([Node("Concat", "x x", "y", {"axis": 0})], {"x": ("FLOAT", ["n", 3])}, {"y": ("FLOAT", ["n", 3])})
    made = program(path)
    assert not made.joins
    with pytest.raises(PermanentError, match="infer the model's shapes"):
        run(made, x=np.ones((2, 3), np.float32))


def test_an_operator_that_nobody_knows_is_named(save: Save) -> None:
    path = save([Node("Wobble", "x", "y", {}, "com.example")], {"x": ("FLOAT", [1])}, {"y": ("FLOAT", [1])})
    with pytest.raises(UserError, match=r"refuses .*tiny.onnx.*Wobble"):
        program(path)


def test_operators_of_a_later_version_are_refused_before_anything_is_loaded(save: Save) -> None:
    path = save([Node("Relu", "x", "y")], {"x": ("FLOAT", [1])}, {"y": ("FLOAT", [1])}, opset=99)
    with pytest.raises(UserError, match=f"version 99.*up to {engine.MOST_OPSET}.*opset_version={engine.MOST_OPSET}"):
        program(path)


def test_weights_beside_the_file_are_read_and_watched(save: Save, tmp_path: Path) -> None:
    path = save(
        [Node("Add", "x w", "y")],
        {"x": ("FLOAT", ["n", 2])},
        {"y": ("FLOAT", ["n", 2])},
        {"w": np.array([1, 2], np.float32)},
    )
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="tiny.bin", size_threshold=0)
    graph = load(path)
    assert [name for name, _ in graph.operator("y").weights] == ["tiny.onnx", "tiny.bin"]  # type: ignore[attr-defined]
    assert run(program(path), x=np.zeros((1, 2), np.float32))["y"].tolist() == [[1, 2]]
    stale = ENGINES["onnxruntime"]().build(graph)
    (tmp_path / "tiny.bin").write_bytes(np.array([3, 4], np.float32).tobytes())
    with pytest.raises(UserError, match=r"tiny.bin.*has changed"):
        stale.warm()
    (tmp_path / "tiny.bin").unlink()
    with pytest.raises(UserError, match=r"weights in tiny.bin.*no such file"):
        load(path)


def test_it_runs_nothing_but_one_onnx_model() -> None:
    assert "nothing else" in ENGINES["onnxruntime"].refusal(stream()[0])


def test_a_missing_package_is_named_with_its_extra(save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save([Node("Relu", "x", "y")], {"x": ("FLOAT", [1])}, {"y": ("FLOAT", [1])})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"onnxruntime is not installed.*synfire\[onnx\]"):
        program(path)
