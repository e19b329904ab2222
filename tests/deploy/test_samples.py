"""Samples that a user gives for a model: what is taken, what is refused, and who measures on them."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from synfire.base.errors import UserError
from synfire.deploy.samples import forget_samples, keep_samples, samples_of
from synfire.engines.profiles.samples import MADE_UP
from synfire.graph import Graph, Synapse
from synfire.graph.images import accepting_images
from synfire.ops import Clock, Kind, Operator, Signal
from synfire.ops.add import Add
from synfire.ops.constant_current import ConstantCurrent
from synfire.ops.flatten import Flatten
from synfire.ops.identity import Identity
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.ops.lookup import Lookup
from synfire.ops.mean_rate import MeanRate
from synfire.ops.python_function import PythonFunction

PICTURE = Signal((1, 4, 4), Kind.VALUE, Clock.REQUEST)
SPIKES = Signal((5,), Kind.SPIKE, Clock.STEP)


def in_a_row(signal: Signal, *operators: Operator) -> Graph:
    named = {f"op{number}": each for number, each in enumerate(operators)}
    return Graph(named, tuple(Synapse(a, b) for a, b in pairwise(["x", *named])), {"x": signal}, {"y": list(named)[-1]})


def pictures(weight: float = 1.0, name: str = "x") -> Graph:
    """Three classes of 4×4 pictures."""
    layer = Linear(np.full((3, 16), weight, np.float32), np.zeros(3, np.float32))
    graph = in_a_row(PICTURE, ConstantCurrent(2), Flatten(), layer, LIF(), MeanRate())
    synapses = tuple(Synapse(name, each.target) if each.source == "x" else each for each in graph.synapses)
    return Graph(graph.operators, synapses, {name: PICTURE}, graph.outputs)


def two_inputs() -> Graph:
    inputs = {"a": SPIKES, "b": SPIKES}
    return Graph({"add": Add()}, (Synapse("a", "add"), Synapse("b", "add", 1)), inputs, {"y": "add"})


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SYNFIRE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


Give = Callable[..., None]


@pytest.fixture
def give(tmp_path: Path) -> Give:
    """Keeps these arrays as a model's samples."""

    def given(graph: Graph, file: str = "own.npz", **arrays: Any) -> None:
        np.savez(tmp_path / file, **arrays)
        keep_samples(graph, tmp_path / file)

    return given


def test_samples_that_are_given_are_what_the_model_is_measured_on(give: Give) -> None:
    x = np.arange(20 * 16, dtype=np.float64).reshape(20, 1, 4, 4) / 320
    give(pictures(), "mine.npz", x=x, labels=np.arange(20) % 3)
    source = samples_of(pictures())
    assert source.words == "mine.npz"
    found = source.read(None)
    assert (found.count, found.steps, found.batched) == (20, 2, True)
    assert found.inputs["x"].dtype == np.float32
    numbers = np.rint(found.inputs["x"][:, 0, 0, 0] * 20).astype(int)
    assert sorted(numbers) == list(range(20))
    assert found.labels is not None
    np.testing.assert_array_equal(found.labels, numbers % 3)


def test_the_first_samples_are_not_the_first_of_the_file(give: Give) -> None:
    classes = np.repeat(np.arange(3), 30)
    give(pictures(), x=np.zeros((90, 1, 4, 4)), labels=classes)
    found = samples_of(pictures()).read(12)
    assert found.count == 12
    assert found.labels is not None
    assert set(found.labels.tolist()) == {0, 1, 2}
    again = samples_of(pictures()).read(12).labels
    assert again is not None
    np.testing.assert_array_equal(found.labels, again)


def test_samples_belong_to_what_a_model_computes_and_to_the_names_of_its_inputs(give: Give) -> None:
    give(pictures(), x=np.zeros((1, 1, 4, 4)))
    assert samples_of(pictures()).words == "own.npz"
    for other in (pictures(2.0), pictures(name="image"), two_inputs()):
        assert samples_of(other).words == MADE_UP


def test_other_samples_take_the_place_of_those_before_and_leave_nothing_behind(give: Give, home: Path) -> None:
    give(pictures(), x=np.zeros((1, 1, 4, 4)))
    before = samples_of(pictures()).digest
    give(pictures(), x=np.ones((2, 1, 4, 4)))
    assert samples_of(pictures()).digest != before
    assert samples_of(pictures()).read(None).count == 2
    assert len(list((home / "samples").glob("??/*"))) == 1
    forget_samples(pictures())
    assert samples_of(pictures()).words == MADE_UP
    assert list((home / "samples").glob("??/*")) == []


def test_samples_that_another_model_has_too_stay(give: Give) -> None:
    for weight in (1.0, 2.0):
        give(pictures(weight), x=np.zeros((1, 1, 4, 4)))
    forget_samples(pictures())
    assert samples_of(pictures(2.0)).read(None).count == 1


def test_samples_that_are_gone_are_asked_for_again(give: Give, home: Path) -> None:
    give(pictures(), x=np.zeros((1, 1, 4, 4)))
    (blob,) = (home / "samples").glob("??/*")
    for damage in (lambda: blob.write_bytes(b"other"), blob.unlink):
        damage()
        with pytest.raises(
            UserError, match=r"own\.npz are damaged, or gone from .* `synfire build MODEL --samples FILE"
        ):
            samples_of(pictures()).read(None)
        give(pictures(), x=np.zeros((1, 1, 4, 4)))
        assert samples_of(pictures()).read(None).count == 1


def test_time_steps_come_behind_samples(give: Give) -> None:
    give(two_inputs(), a=np.ones((3, 7, 5), np.uint8), b=np.zeros((3, 7, 5), bool))
    found = samples_of(two_inputs()).read(2)
    assert (found.count, found.steps) == (2, 7)
    assert {name: (each.shape, each.dtype) for name, each in found.inputs.items()} == {
        "a": ((7, 2, 5), np.uint8),
        "b": ((7, 2, 5), np.uint8),
    }


def png(level: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((4, 4), level, np.uint8)).save(file, "PNG")
    return file.getvalue()


def test_files_are_byte_strings_or_rows_of_bytes(give: Give) -> None:
    graph = accepting_images(pictures())
    files = [png(0), png(255)]
    for given in (np.array(files), np.array([np.frombuffer(each.ljust(200, b"\0"), np.uint8) for each in files])):
        give(graph, x=given)
        found = samples_of(graph).read(None).inputs["x"]
        assert found.dtype == object
        assert {each.rstrip(b"\0") for each in found} == {each.rstrip(b"\0") for each in files}


@pytest.mark.parametrize(
    ("graph", "arrays", "said"),
    [
        (pictures(), {"image": np.zeros((2, 1, 4, 4))}, r"own.npz holds ['image']; the model takes ['x']: name"),
        (pictures(), {"labels": np.zeros(2, int)}, "holds []; the model takes ['x']"),
        (two_inputs(), {"a": np.zeros((2, 3, 5))}, "holds ['a']; the model takes ['a', 'b']"),
        (pictures(), {"x": np.zeros((2, 4, 4))}, "input 'x' has shape [2, 4, 4]; it takes [samples, 1, 4, 4]"),
        (pictures(), {"x": np.zeros((2, 1, 4, 5))}, "has shape [2, 1, 4, 5]; it takes [samples, 1, 4, 4]"),
        (
            two_inputs(),
            {"a": np.zeros((2, 5)), "b": np.zeros((2, 3, 5))},
            "input 'a' has shape [2, 5]; it takes [samples, steps, 5]",
        ),
        (pictures(), {"x": np.zeros((0, 1, 4, 4))}, "input 'x' is empty, its shape is [0, 1, 4, 4]; give one"),
        (pictures(), {"x": np.full((2, 1, 4, 4), "a")}, "input 'x' holds <U1; it takes numbers, as float32 has them"),
        (pictures(), {"x": np.zeros((2, 1, 4, 4), complex)}, "input 'x' holds complex128; it takes numbers"),
        (pictures(), {"x": np.full((2, 1, 4, 4), np.nan)}, "input 'x' holds nan at [0, 0, 0, 0]; send finite numbers"),
        (
            two_inputs(),
            {"a": np.full((2, 3, 5), 2), "b": np.zeros((2, 3, 5))},
            "input 'a' holds 2 at [0, 0, 0]; a spike is 0 or 1",
        ),
        (
            two_inputs(),
            {"a": np.full((2, 3, 5), 0.5), "b": np.zeros((2, 3, 5))},
            "input 'a' holds 0.5 at [0, 0, 0], which is no uint8",
        ),
        (
            two_inputs(),
            {"a": np.zeros((2, 3, 5)), "b": np.zeros((4, 3, 5))},
            "differ in how many samples they have: {'a': 2, 'b': 4}; give as many of each",
        ),
        (
            two_inputs(),
            {"a": np.zeros((2, 3, 5)), "b": np.zeros((2, 4, 5))},
            "differ in their number of time steps: {'a': 3, 'b': 4}; make them equal",
        ),
        (
            pictures(),
            {"x": np.zeros((2, 1, 4, 4)), "labels": np.zeros(3, int)},
            "'labels' has shape [3], and there are 2 samples; give [2]",
        ),
        (
            pictures(),
            {"x": np.zeros((2, 1, 4, 4)), "labels": np.zeros(2)},
            "'labels' holds float64; give the number of each sample's class",
        ),
        (
            pictures(),
            {"x": np.zeros((2, 1, 4, 4)), "labels": np.array([0, 3])},
            "'labels' says 3 of sample 1; the model has the classes 0 to 2",
        ),
        (
            two_inputs(),
            {"a": np.zeros((2, 3, 5)), "b": np.zeros((2, 3, 5)), "labels": np.zeros(2, int)},
            "the model has no output with a score per class; leave them out",
        ),
        (accepting_images(pictures()), {"x": np.zeros((2, 1, 4, 4))}, "it takes files: an array of byte strings"),
        (accepting_images(pictures()), {"x": np.zeros((0, 9), np.uint8)}, "input 'x' is empty; give one file at least"),
        (accepting_images(pictures()), {"x": np.array([png(0), b"no picture"])}, "own.npz: sample 1: "),
        (
            in_a_row(Signal((), Kind.INDEX, Clock.REQUEST), Lookup(np.zeros((3, 2), np.float32))),
            {"x": np.array([0, 1, 7])},
            "sample 2: Lookup holds rows 0 to 2, and row 7 was asked for",
        ),
    ],
)
def test_what_does_not_fit_is_refused_and_not_kept(graph: Graph, arrays: dict[str, Any], said: str, give: Give) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        give(graph, **arrays)
    assert samples_of(graph).words == MADE_UP


def test_levels_of_pixels_are_no_values_in_the_unit_range(give: Give) -> None:
    own = pictures()
    graph = Graph(own.operators, own.synapses, own.inputs, own.outputs, {"input": "a grey image, values in [0, 1]"})
    with pytest.raises(UserError, match=r"whole numbers up to 255, .* divide pixels by 255"):
        give(graph, x=np.full((2, 1, 4, 4), 255))


def test_recordings_have_as_many_steps_as_the_model_runs(give: Give) -> None:
    layer = Linear(np.ones((3, 16), np.float32), np.zeros(3, np.float32))
    graph = Graph(
        {"encoder": ConstantCurrent(2), "flat": Flatten(), "fc": layer, "add": Add()},
        (Synapse("x", "encoder"), Synapse("encoder", "flat"), Synapse("flat", "fc"), Synapse("fc", "add"), Synapse("t", "add", 1)),
        {"x": PICTURE, "t": Signal((3,), Kind.VALUE, Clock.STEP)},
        {"y": "add"},
    )  # fmt: skip
    with pytest.raises(UserError, match="input 't' has 5 time steps; this model runs 2 a request"):
        give(graph, x=np.zeros((1, 1, 4, 4)), t=np.zeros((1, 5, 3)))


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 cut off", b"\x93NUMPY\x01\x00"])
def test_a_file_that_is_no_npz_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "own.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"own\.npz is no \.npz .*; write it with numpy\.savez"):
        keep_samples(pictures(), tmp_path / "own.npz")


def test_objects_in_a_file_are_not_loaded(give: Give) -> None:
    with pytest.raises(UserError, match=r"is no \.npz of plain arrays"):
        give(pictures(), x=np.array([[1], [1, 2]], object))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*absent\.npz: No such file or directory; check the path"):
        keep_samples(pictures(), tmp_path / "absent.npz")


def test_a_model_that_runs_whole_has_no_use_for_samples(tmp_path: Path) -> None:
    function = PythonFunction("f", "/", (("f.py", "0" * 64),), (("x", "float32", (3,)),), ("y", "bool", ()))
    graph = Graph({"y": function}, (Synapse("x", "y"),), {"x": function.signals()[0]}, {"y": "y"})
    with pytest.raises(UserError, match=r"nothing of it is measured: .* leave --samples out"):
        keep_samples(graph, tmp_path / "own.npz")
    assert samples_of(graph).words == MADE_UP


def test_an_input_may_be_called_labels(give: Give) -> None:
    own = in_a_row(SPIKES, Identity())
    graph = Graph(own.operators, (Synapse("labels", "op0"),), {"labels": SPIKES}, own.outputs)
    give(graph, labels=np.ones((2, 3, 5)))
    assert samples_of(graph).read(None).inputs["labels"].all()
