"""An ONNX file is read without any package of ONNX, and a crafted one costs an error and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synfire.base.errors import UserError
from synfire.formats import load
from synfire.formats.onnx_file import read_onnx
from synfire.ops import Clock, Kind, Signal
from synfire.ops.onnx_model import OnnxModel
from synfire.testing.onnx_models import Node, write_onnx

onnx = pytest.importorskip("onnx", reason="needs the package onnx")

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    return partial(write_onnx, tmp_path / "tiny.onnx")


@pytest.fixture
def affine(save: Save) -> Path:
    """y = x·w + b, with weights that are inputs, too, as older files have them."""
    weights = {"w": np.ones((3, 2), np.float32), "b": np.zeros(2, np.float32)}
    return save(
        [Node("Gemm", "x w b", "y")],
        {"x": ("FLOAT", ["batch", 3]), "w": ("FLOAT", [3, 2])},
        {"y": ("FLOAT", ["batch", 2])},
        weights,
    )


def test_tensors_and_operator_sets_are_read(affine: Path) -> None:
    found = read_onnx(affine)
    assert found.opset == {"": 18}
    assert found.producer == "synfire"
    assert [tuple(each) for each in found.inputs] == [("x", "float32", (-1, 3), ("batch", ""))]
    assert [tuple(each) for each in found.outputs] == [("y", "float32", (-1, 2), ("batch", ""))]
    assert found.external == ()


def test_a_model_is_one_operator_with_the_digest_of_its_file(affine: Path) -> None:
    graph = load(affine)
    model = graph.operator("y")
    assert isinstance(model, OnnxModel)
    assert (graph.whole, graph.open_ended, graph.batches) == (True, False, True)
    assert graph.inputs == {"x": Signal((3,), Kind.FLOAT32, Clock.REQUEST)}
    assert graph.output_signals() == {"y": Signal((2,), Kind.FLOAT32, Clock.REQUEST)}
    assert model.parameter_bytes == affine.stat().st_size
    digest = graph.content_digest()
    affine.write_bytes(affine.read_bytes().replace(b"synfire", b"SYNFIRE"))
    assert load(affine).content_digest() != digest


def test_a_model_with_several_outputs_is_as_many_operators_that_share_its_weights(save: Save) -> None:
    path = save(
        [Node("Split", "a/x", "a/y z", {"num_outputs": 2})],
        {"a/x": ("FLOAT16", [4, "n"])},
        {"a/y": ("FLOAT16", [2, "n"]), "z": ("FLOAT16", [2, "n"])},
    )
    graph = load(path)
    assert dict(graph.outputs) == {"a/y": "a_y", "z": "z"}
    assert list(graph.inputs) == ["a.x"]
    assert sum(graph.operator(name).parameter_bytes for name in graph) == path.stat().st_size
    assert graph.signals()["z"] == Signal((2, -1), Kind.FLOAT16, Clock.REQUEST)
    assert not graph.batches


def test_an_operator_is_rebuilt_from_what_travels(affine: Path) -> None:
    model = load(affine).operator("y")
    built = OnnxModel.build(model.attributes(), model.parameters())
    assert built.content_digest() == model.content_digest()
    assert built.infer(Signal((3,), Kind.FLOAT32, Clock.REQUEST)) == Signal((2,), Kind.FLOAT32, Clock.REQUEST)
    with pytest.raises(UserError, match="takes float32 3 per request as 'x'"):
        built.infer(Signal((4,), Kind.FLOAT32, Clock.REQUEST))


@pytest.mark.parametrize(
    ("shape", "kind", "words"),
    [(None, "FLOAT", "how many axes"), (["n"], "BFLOAT16", "bfloat16"), (["n"], "COMPLEX64", "complex64")],
)
def test_tensors_that_are_not_served_are_named(save: Save, shape: list[str], kind: str, words: str) -> None:
    with pytest.raises(UserError, match=f"output 'y' .*{words}"):
        load(save([Node("Identity", "x", "y")], {"x": ("FLOAT", ["n"])}, {"y": (kind, shape)}))


def test_lists_of_maps_are_refused_with_the_option_that_leaves_them_out(save: Save) -> None:
    path = save([Node("Identity", "x", "y")], {"x": ("FLOAT", ["n"])}, {"y": ("FLOAT", ["n"])})
    model = onnx.load(path)
    of = onnx.helper.make_map_type_proto(onnx.TensorProto.INT64, onnx.helper.make_tensor_type_proto(1, ["n"]))
    model.graph.output[0].type.CopyFrom(onnx.helper.make_sequence_type_proto(of))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match=r"output 'y' is no tensor.*zipmap=False"):
        load(path)


def test_weights_outside_the_models_folder_are_not_read(affine: Path) -> None:
    model = onnx.load(affine)
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "../secret")
    affine.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match=r"\.\./secret, outside its own folder"):
        load(affine)


def test_a_model_without_input_or_output_is_refused(save: Save) -> None:
    with pytest.raises(UserError, match="takes no input"):
        load(save([Node("Constant", "", "y", {"value_int": 1})], {}, {"y": ("INT64", [])}))
    with pytest.raises(UserError, match="no output"):
        load(save([Node("Relu", "x", "y")], {"x": ("FLOAT", [1])}, {}))


def test_a_file_that_is_cut_off_is_named_with_the_byte(affine: Path) -> None:
    content = affine.read_bytes()
    for size in range(len(content)):
        affine.write_bytes(content[:size])
        with pytest.raises(UserError, match=str(affine)):
            load(affine)
    affine.write_bytes(content[:-9])
    with pytest.raises(
        UserError, match=r"is cut off or damaged: field \d+ at byte \d+ takes \d+ bytes, and \d+ are left"
    ):
        load(affine)


@given(content=st.binary(max_size=200))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_other_file_is_an_error_of_ours(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "any.onnx"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"any\.onnx"):
        read_onnx(path)


@pytest.mark.slow
@given(places=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_read_or_refused(affine: Path, places: list[tuple[int, int]]) -> None:
    content = bytearray(affine.read_bytes())
    for place, byte in places:
        content[place % len(content)] = byte
    damaged = affine.with_name("damaged.onnx")
    damaged.write_bytes(content)
    with suppress(UserError):
        assert load(damaged).whole
