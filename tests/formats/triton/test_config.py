"""A configuration is understood, or told by its line what becomes of it: nothing in it is dropped in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from synfire.base.errors import UserError
from synfire.formats.triton.config import Config, ConfigTensor, EnsembleStep, Policy
from synfire.formats.triton.reading import read_config


def config(folder: Path, text: str) -> Config:
    (folder / "config.pbtxt").write_text(text)
    return read_config(folder)


def test_what_is_understood_is_read(tmp_path: Path) -> None:
    found = config(
        tmp_path,
        """
        name: "net"
        platform: "onnxruntime_onnx"
        max_batch_size: 8
        input [ { name: "x" data_type: TYPE_FP32 dims: [ 3, -1 ] }, { name: "t" data_type: TYPE_STRING dims: 1 } ]
        output { name: "y" data_type: TYPE_INT64 dims: [ 1 ] }
        version_policy: { specific { versions: [ 1, 3 ] } }
        default_model_filename: "own.onnx"
        parameters { key: "alpha" value: { string_value: "2" } }
        dynamic_batching { }
        instance_group [ { count: 2 kind: KIND_CPU }, { count: 1 } ]
        """,
    )
    assert found == Config(
        name="net",
        backend="onnxruntime",
        max_batch_size=8,
        inputs=(ConfigTensor("x", "float32", (3, -1)), ConfigTensor("t", "bytes", (1,))),
        outputs=(ConfigTensor("y", "int64", (1,)),),
        policy=Policy(None, (1, 3)),
        file="own.onnx",
        parameters={"alpha": "2"},
        company=True,
        instances=3,
    )


def test_a_model_without_a_configuration_leaves_all_to_its_file(tmp_path: Path) -> None:
    assert read_config(tmp_path) == Config()


def test_the_steps_of_an_ensemble_are_read(tmp_path: Path) -> None:
    text = """
    platform: "ensemble"
    ensemble_scheduling { step [ {
      model_name: "one" model_version: 2
      input_map { key: "INPUT0" value: "x" } input_map { key: "INPUT1" value: "z" }
      output_map { key: "OUTPUT0" value: "y" } } ] }
    """
    found = config(tmp_path, text)
    assert found.backend == "ensemble"
    assert found.steps == (EnsembleStep("one", 2, {"INPUT0": "x", "INPUT1": "z"}, {"OUTPUT0": "y"}),)


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("", [7]),
        ("version_policy: { latest { num_versions: 2 } }", [3, 7]),
        ("version_policy: { all { } }", [1, 3, 7]),
        ("version_policy: { specific { versions: 1 } }", [1]),
        ("version_policy: { specific { versions: [ 2 ] } }", []),
    ],
)
def test_a_policy_chooses_versions(tmp_path: Path, text: str, chosen: list[int]) -> None:
    assert config(tmp_path, text).policy.chosen([1, 3, 7]) == chosen


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\noptimization { graph { level: 1 } }", "line 2: optimization has no effect: engines choose by themselves"),
        ("instance_group [ { kind: KIND_GPU } ]", "line 1: instance_group has no effect: there is no GPU"),
        ("instance_group [ { gpus: [ 0 ] } ]", "line 1: gpus has no effect: there is no GPU"),
        (
            "dynamic_batching { max_queue_delay_microseconds: 100 }",
            "line 1: max_queue_delay_microseconds has no effect",
        ),
        (
            'output { name: "y" data_type: TYPE_FP32 dims: 1 label_filename: "l.txt" }',
            "label_filename has no effect: no",
        ),
    ],
)
def test_what_has_no_effect_is_remarked_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    (remark,) = config(tmp_path, text).remarks
    assert words in remark
    assert str(tmp_path / "config.pbtxt") in remark


def test_what_changes_nothing_is_not_remarked(tmp_path: Path) -> None:
    unsaid = 'input { name: "x" data_type: TYPE_FP32 dims: 1 optional: false is_shape_tensor: false allow_ragged_batch: false }'
    found = config(tmp_path, "instance_group [ { kind: KIND_CPU count: 1 } ] runtime: ''" + unsaid)
    assert found.remarks == ()
    assert found.inputs == (ConfigTensor("x", "float32", (1,)),)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("version_policy { latest { num_versions: 0 } }", "line 1: the latest 0 versions are none; serve 1 at least"),
        ("\nsequence_batching { }", "line 2: sequence_batching is not served: state between requests is not kept"),
        (
            "max_bach_size: 3",
            r"line 1: a model's configuration has no field 'max_bach_size' that is known here \(did you mean max_batch_size\?\); known are",
        ),
        ("max_batch_size: -1", "line 1: max_batch_size is -1, and takes 0 or more"),
        ('max_batch_size: "8"', "line 1: max_batch_size takes a whole number"),
        ("name: 3", "line 1: name takes a text or a name"),
        ("input: 3", "line 1: input is 3, and takes fields in braces"),
        ('input { name: "x" data_type: TYPE_BF16 dims: 1 }', r"line 1: x of TYPE_BF16 and dims \[1\] cannot be served"),
        ('input { name: "x" data_type: TYPE_FP32 dims: 0 }', r"dims \[0\] cannot be served; types are TYPE_BOOL"),
        (
            'input { name: "x" dim: 1 }',
            r"line 1: an input has no field 'dim' that is known here \(did you mean dims\?\)",
        ),
        ('input { name: "x" reshape { shape: 1 } }', "line 1: reshape is not served: a tensor has one shape"),
        ('input { name: "x" optional: true }', "line 1: optional is not served: every input is sent"),
        ("model_transaction_policy { decoupled: true }", "line 1: a decoupled model gives no, or many answers"),
        (
            'parameters { key: "EXECUTION_ENV_PATH" value { string_value: "e.tar.gz" } }',
            "line 1: no packed environment is unpacked; unpack it, and name its Python in SYNFIRE_FUNCTIONS_PYTHON",
        ),
        (
            "dynamic_batching { priority_levels: 2 }",
            "line 1: priority_levels is not served: requests have no priorities",
        ),
    ],
)
def test_what_is_not_served_is_refused_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        config(tmp_path, text)
