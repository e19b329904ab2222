"""A model repository is served as Triton serves it: by folders, versions, and what files say of themselves."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from synfire.base.errors import UserError
from synfire.chains import read_chain
from synfire.chains.chain import Ask, Place, Source
from synfire.formats import load
from synfire.formats.triton import is_repository, references
from synfire.ops import Clock, Kind, Signal
from synfire.testing.onnx_models import Node, write_onnx

Write = Callable[[str, str], Path]

MODEL = """
    import triton_python_backend_utils as pb_utils

    class TritonPythonModel:
        def execute(self, requests):
            return []
"""
COMPLETE = (
    MODEL
    + """
        @staticmethod
        def auto_complete_config(config):
            config.add_input({"name": "x", "data_type": "TYPE_FP32", "dims": [2]})
            config.add_output({"name": "y", "data_type": "TYPE_STRING", "dims": [-1]})
            config.set_max_batch_size(4)
            config.set_dynamic_batching()
            return config
"""
)
TENSORS = """
    input { name: "x" data_type: TYPE_FP32 dims: [ 2 ] }
    output { name: "y" data_type: TYPE_INT64 dims: [ 3 ] }
"""
ENSEMBLE = """
    platform: "ensemble"
    input { name: "IN" data_type: TYPE_FP32 dims: 2 }
    output { name: "OUT" data_type: TYPE_FP32 dims: 2 }
    ensemble_scheduling { step [
      { model_name: "one" model_version: -1 input_map { key: "x" value: "IN" } output_map { key: "y" value: "between" } },
      { model_name: "1.x" model_version: 3 input_map { key: "x" value: "between" } output_map { key: "y" value: "OUT" } }
    ] }
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    monkeypatch.setenv("SYNFIRE_CACHE", str(tmp_path / "cache"))

    def written(name: str, text: str) -> Path:
        path = tmp_path / "repository" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    return written


def onnx_file(path: Path, *, rows: bool = True) -> None:
    pytest.importorskip("onnx", reason="needs the package onnx")
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = ["n", 2] if rows else [2]
    tensors = {"y": ("FLOAT", shape), "z": ("FLOAT", shape)}
    write_onnx(path, [Node("Relu", "x", "y"), Node("Neg", "x", "z")], {"x": ("FLOAT", shape)}, tensors)


def test_a_repository_is_what_its_policies_choose(write: Write, tmp_path: Path) -> None:
    for version in (1, 2, 10):
        write(f"one/{version}/model.py", MODEL)
        write(f"two/{version}/model.py", MODEL)
    write("two/config.pbtxt", "version_policy: { latest { num_versions: 2 } }")
    write("two/notes.txt", "")
    write("both/config.pbtxt", ENSEMBLE)
    (tmp_path / "repository/both/1").mkdir()
    repository = tmp_path / "repository"
    assert is_repository(repository)
    assert references(repository) == [
        f"both={repository}/both",
        f"one@10={repository}/one/10",
        f"two@2={repository}/two/2",
        f"two@10={repository}/two/10",
    ]


def test_neither_a_model_nor_any_other_folder_is_a_repository(write: Write, tmp_path: Path) -> None:
    write("one/1/model.py", MODEL)
    assert not is_repository(tmp_path / "repository/one")
    assert not is_repository(tmp_path)
    assert not is_repository(tmp_path / "nowhere")


def test_a_python_model_has_the_tensors_that_are_configured(write: Write) -> None:
    folder = write("one/1/model.py", MODEL).parents[1]
    write("one/config.pbtxt", TENSORS)
    graph = load(folder)
    assert dict(graph.inputs) == {"x": Signal((2,), Kind.FLOAT32, Clock.REQUEST)}
    assert graph.output_signals() == {"y": Signal((3,), Kind.INT64, Clock.REQUEST)}
    assert not graph.batches


def test_samples_count_along_the_first_axis_where_there_are_batches(write: Write) -> None:
    folder = write("one/1/model.py", MODEL).parents[1]
    write("one/config.pbtxt", "max_batch_size: 4" + TENSORS)
    graph = load(folder)
    assert graph.batches
    assert graph.inputs["x"].shape == (2,)
    write("one/config.pbtxt", "max_batch_size: 4" + TENSORS.replace("[ 3 ]", "[ -1 ]"))
    ragged = load(folder)
    assert not ragged.batches
    assert ragged.inputs["x"].shape == (-1, 2)


def test_a_python_model_completes_its_configuration(write: Write) -> None:
    graph = load(write("one/1/model.py", COMPLETE).parents[1])
    assert {name: signal.shape for name, signal in graph.inputs.items()} == {"x": (-1, 2)}
    assert graph.output_signals()["y"] == Signal((-1, -1), Kind.BYTES, Clock.REQUEST)


def test_versions_of_one_file_are_unlike_models(write: Write, tmp_path: Path) -> None:
    digests = [load(write(f"one/{version}/model.py", COMPLETE).parent).content_digest() for version in (1, 2)]
    assert digests[0] != digests[1], "what lies beside the file may differ"


def test_an_onnx_model_has_the_outputs_that_are_configured(tmp_path: Path, write: Write) -> None:
    onnx_file(tmp_path / "repository/net/1/model.onnx")
    assert list(load(tmp_path / "repository/net").outputs) == ["y", "z"]
    tensors = TENSORS.replace("TYPE_INT64 dims: [ 3 ]", "TYPE_FP32 dims: [ 2 ]")
    write("net/config.pbtxt", 'name: "net" platform: "onnxruntime_onnx" max_batch_size: 8' + tensors)
    graph = load(tmp_path / "repository/net")
    assert list(graph.outputs) == ["y"]
    assert graph.batches


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('name: "other"', "is of a model called 'other', and its folder 'net'; call both the same"),
        (
            'backend: "tensorrt"',
            "backend 'tensorrt' is not served; the backends here are onnxruntime, python, and ensemble",
        ),
        ('default_model_filename: "gone.onnx"', "1/gone.onnx is missing; put the model there, or name its file"),
        ('input { name: "w" data_type: TYPE_FP32 dims: 2 }', "input 'w' is not in the model; there are x"),
        (
            'input { name: "x" data_type: TYPE_INT8 dims: 2 }',
            r"input 'x' is int8 of shape \[2\], .* has float32 of shape",
        ),
        ('max_batch_size: 2 input { name: "x" data_type: TYPE_FP32 dims: 3 }', r"of shape \[-1, 3\], with the batch"),
    ],
)
def test_a_configuration_that_does_not_fit_its_model_is_refused(
    tmp_path: Path, write: Write, text: str, words: str
) -> None:
    onnx_file(tmp_path / "repository/net/1/model.onnx")
    write("net/config.pbtxt", text)
    with pytest.raises(UserError, match=words):
        load(tmp_path / "repository/net")


def test_what_a_python_model_cannot_be_served_with_is_told(write: Write) -> None:
    folder = write("one/1/model.py", MODEL).parents[1]
    with pytest.raises(
        UserError, match=r"nobody says what the model's inputs are; name them in config.pbtxt, or in its"
    ):
        load(folder)
    write("one/1/model.py", "x = 1")
    with pytest.raises(UserError, match="has no class TritonPythonModel with a method execute"):
        load(folder)
    write("one/1/model.py", COMPLETE.replace("[2]", "2"))
    with pytest.raises(
        UserError, match=r"auto_complete_config failed: TritonModelException: input 'x' has dims 2, and takes a"
    ):
        load(folder)
    write("one/1/model.py", COMPLETE.replace("return config", "return None"))
    with pytest.raises(UserError, match="auto_complete_config gave NoneType; return the configuration"):
        load(folder)
    write("one/1/model.py", COMPLETE.replace("TritonPythonModel:", "TritonPythonModel:\n        x = pb_utils.Metric"))
    with pytest.raises(
        UserError, match=r"triton_python_backend_utils.Metric is not there when models are served by syn"
    ):
        load(folder)


def test_a_model_that_contradicts_its_configuration_is_refused(write: Write) -> None:
    folder = write("one/1/model.py", COMPLETE).parents[1]
    write("one/config.pbtxt", TENSORS)
    with pytest.raises(
        UserError, match=r"output 'y' is configured as .*TYPE_INT64.*, and the model says .*TYPE_STRING"
    ):
        load(folder)


def test_a_model_without_the_version_that_is_wanted_is_told(write: Write) -> None:
    folder = write("one/1/model.py", MODEL).parents[1]
    write("one/config.pbtxt", "version_policy: { specific { versions: 2 } }")
    with pytest.raises(UserError, match=r"has no version that is served \(there are \[1\]\); put one in a folder"):
        load(folder)


def test_a_repository_is_no_model_and_says_what_it_holds(write: Write, tmp_path: Path) -> None:
    write("one/1/model.py", MODEL)
    write("two/1/model.py", MODEL)
    with pytest.raises(UserError, match=r"is a repository of several models \(one, two\); name one of these folders"):
        load(tmp_path / "repository")


def test_an_ensemble_is_a_chain(write: Write) -> None:
    chain = read_chain(write("both/config.pbtxt", ENSEMBLE).parent)
    assert chain.name == "both"
    assert [(step.name, step.does, step.inputs) for step in chain.steps] == [
        ("one", Ask("one"), {"x": Source((Place("request", "IN"),))}),
        ("step_1_x", Ask("1.x@3"), {"x": Source((Place("one", "y"),))}),
    ]
    assert chain.outputs == {"OUT": Source((Place("step_1_x", "y"),))}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('value: "IN"', 'value: "INN"', "step 'one', input 'x' is 'INN', which neither the request nor a step gives"),
        ('name: "OUT"', 'name: "OUTER"', "output 'OUTER' is 'OUTER', which neither the request nor a step gives"),
        ('key: "y" value: "OUT"', 'key: "y" value: "IN"', "tensor 'IN' comes from request.IN, and from step_1_x.y"),
        ("ensemble_scheduling", "parameters { } #", "has no step; an ensemble names its models in ensemble_scheduling"),
    ],
)
def test_an_ensemble_whose_tensors_do_not_meet_is_refused(write: Write, old: str, new: str, words: str) -> None:
    text = ENSEMBLE.replace(old, new) if "#" not in new else ENSEMBLE.partition("ensemble_scheduling")[0]
    with pytest.raises(UserError, match=words):
        read_chain(write("both/config.pbtxt", text).parent)
