from __future__ import annotations

import io
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from synfire.base.errors import UserError
from synfire.engines.engine import ENGINES
from synfire.graph import Graph, Synapse, flatten
from synfire.ops import Clock, Kind, Operator, Signal
from synfire.ops.constant_current import ConstantCurrent
from synfire.ops.event_decode import EventDecode
from synfire.ops.event_frames import EventFrames
from synfire.ops.identity import Identity
from synfire.ops.image_decode import ImageDecode
from synfire.ops.lookup import Lookup
from synfire.ops.python_function import PythonFunction
from synfire.ops.select_row import SelectRow
from synfire.ops.wav_decode import WavDecode
from synfire.zoo import digit_inputs, held_out_digits, load, names, picture_file, picture_inputs, sample
from synfire.zoo.digits import written


def reading(operator: Operator, signal: Signal, *more: Operator) -> Graph:
    operators = {f"op{i}": each for i, each in enumerate([operator, *more])}
    chain = ["x", *operators]
    synapses = tuple(Synapse(a, b) for a, b in pairwise(chain))
    return Graph(operators, synapses, {"x": signal}, {"y": chain[-1]})


FILE = Signal((), Kind.BYTES, Clock.REQUEST)


def runs(graph: Graph) -> dict[str, np.ndarray]:
    program = ENGINES["reference"]().build(graph)
    return program.run(program.initial_state(1), sample(graph), graph.steps or 2)[1]


def test_the_held_out_digits_are_the_last_of_the_trainings_shuffle() -> None:
    images, labels = held_out_digits()
    assert images.shape == (360, 8, 8)
    assert labels.shape == (360,)
    assert images.min() == 0
    assert images.max() == 1
    assert set(labels.tolist()) == set(range(10))


@pytest.mark.slow
def test_the_digits_are_those_that_scikit_learn_itself_reads() -> None:
    pixels, labels = pytest.importorskip("sklearn.datasets").load_digits(return_X_y=True)
    chosen = np.random.default_rng(0).permutation(len(labels))[-360:]
    images, classes = held_out_digits()
    np.testing.assert_array_equal(images.reshape(-1, 64), pixels[chosen] / 16)
    np.testing.assert_array_equal(classes, labels[chosen])


def test_digits_are_read_without_loading_scikit_learn() -> None:
    code = "import sys, synfire.zoo; synfire.zoo.held_out_digits(); print({'sklearn', 'scipy'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "set()\n"


def test_without_scikit_learn_the_digits_say_how_to_get_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install 'synfire\[digits\]'"):
        held_out_digits()
    bare = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: bare)
    with pytest.raises(UserError, match=r"digits\.csv\.gz; install it again"):
        held_out_digits()


@pytest.mark.parametrize("shape", [(1, 8, 8), (8, 8), (64,), (1, 28, 28), (784,), (3, 16, 16)])
def test_a_picture_fits_every_shape_that_holds_one(shape: tuple[int, ...]) -> None:
    picture = held_out_digits()[0][0]
    found = picture_inputs({"x": Signal(shape, Kind.VALUE, Clock.REQUEST)}, picture)["x"]
    assert found.shape == (1, *shape)
    assert found.dtype == np.float32
    assert 0 <= found.min() <= found.max() <= 1


def test_a_picture_of_the_right_size_is_not_changed() -> None:
    picture = held_out_digits()[0][0]
    found = picture_inputs({"x": Signal((1, 8, 8), Kind.VALUE, Clock.REQUEST)}, picture)["x"]
    np.testing.assert_array_equal(found[0, 0], picture)


def test_a_file_input_gets_a_png() -> None:
    found = picture_inputs({"x": FILE}, held_out_digits()[0][0])["x"]
    assert Image.open(io.BytesIO(found[0])).size == (8, 8)


def test_an_inverting_decoder_gets_the_negative() -> None:
    graph = reading(ImageDecode(1, 8, 8, invert=True), FILE)
    picture = held_out_digits()[0][0]
    sent = digit_inputs(graph.inputs, picture, picture_file(graph))["x"]
    (decoded,) = ImageDecode(1, 8, 8, invert=True).apply(sent)
    np.testing.assert_allclose(decoded[0], picture, atol=1 / 255)


def test_a_model_that_takes_no_picture_says_so() -> None:
    with pytest.raises(UserError, match="no picture; send it with --input FILE"):
        picture_inputs({"x": Signal((5,), Kind.VALUE, Clock.REQUEST)}, held_out_digits()[0][0])


@pytest.mark.parametrize(
    "graph",
    [
        reading(ImageDecode(1, 8, 8), FILE, ConstantCurrent(2)),
        reading(WavDecode(8000, 100), FILE),
        reading(EventDecode(), FILE, EventFrames(3, 10, 12, 0.01)),
        reading(EventFrames(3, 10, 12, 0.01), Signal((-1, 4), Kind.INDEX, Clock.REQUEST)),
        reading(Identity(), Signal((7,), Kind.SPIKE, Clock.STEP)),
        reading(Identity(), Signal((7,), Kind.COUNT, Clock.STEP)),
    ],
)
def test_a_sample_is_accepted_by_its_graph(graph: Graph) -> None:
    assert runs(graph)["y"].size > 0


def test_a_sample_is_the_same_every_time() -> None:
    graph = reading(Identity(), Signal((7,), Kind.VALUE, Clock.STEP))
    np.testing.assert_array_equal(sample(graph)["x"], sample(graph)["x"])


PICTURE = Signal((1, 28, 28), Kind.VALUE, Clock.REQUEST)
VARIED = [
    reading(Identity(), PICTURE),
    reading(Identity(), Signal((3, 32, 32), Kind.VALUE, Clock.REQUEST)),
    reading(Identity(), Signal((16,), Kind.VALUE, Clock.REQUEST)),
    reading(Identity(), Signal((70,), Kind.SPIKE, Clock.STEP)),
    reading(Identity(), Signal((70,), Kind.COUNT, Clock.STEP)),
    reading(ImageDecode(1, 8, 8), FILE),
    reading(ImageDecode(3, 32, 32), FILE),
    reading(WavDecode(8000, 100), FILE),
    reading(EventDecode(), FILE, EventFrames(3, 10, 12, 0.01)),
    reading(EventFrames(3, 10, 12, 0.01), Signal((-1, 4), Kind.INDEX, Clock.REQUEST)),
    reading(Lookup(np.zeros((10**9, 0), np.float32)), Signal((), Kind.INDEX, Clock.REQUEST)),
]


@pytest.mark.parametrize("graph", VARIED)
def test_each_seed_has_a_sample_of_its_own(graph: Graph) -> None:
    found = [sample(graph, seed)["x"] for seed in range(64)]
    contents = [each[0] if each.dtype == object else each.tobytes() for each in found]
    assert len(set(contents)) == 64
    again = sample(graph, 11)["x"]
    assert contents[11] == (again[0] if again.dtype == object else again.tobytes())


def test_the_first_seeds_are_all_digits_and_the_first_of_all_is_a_three() -> None:
    found = [sample(reading(Identity(), Signal((8, 8), Kind.VALUE, Clock.REQUEST)), seed)["x"][0] for seed in range(10)]
    np.testing.assert_array_equal(found[0], written(3))
    assert {int(each.sum() * 16) for each in found} == {int(written(digit).sum() * 16) for digit in range(10)}


def test_a_model_of_digits_answers_its_samples_as_they_are_written() -> None:
    graph = flatten(load("svgg-digits"))
    program = ENGINES["cpu"]().build(graph)
    inputs = {name: np.concatenate([sample(graph, seed)[name] for seed in range(20)]) for name in graph.inputs}
    (found,) = program.run(program.initial_state(20), inputs, graph.steps or 1)[1].values()
    assert np.mean(found[-1].argmax(-1) == (3 + np.arange(20)) % 10) >= 0.9


def test_colours_are_smooth_and_fill_the_picture() -> None:
    (picture,) = sample(reading(Identity(), Signal((3, 32, 32), Kind.VALUE, Clock.REQUEST)), 5)["x"]
    assert 0 <= picture.min() <= picture.max() <= 1
    assert np.count_nonzero(picture) > 0.99 * picture.size
    assert np.abs(np.diff(picture)).max() < 0.25
    assert not np.array_equal(picture[0], picture[1])


def test_a_file_in_colour_holds_the_same_colours() -> None:
    decoder = ImageDecode(3, 32, 32)
    file = sample(reading(decoder, FILE), 5)["x"]
    (plain,) = sample(reading(Identity(), Signal((3, 32, 32), Kind.VALUE, Clock.REQUEST)), 5)["x"]
    np.testing.assert_allclose(decoder.apply(file)[0], plain, atol=1 / 255)


def test_a_row_that_is_chosen_is_there() -> None:
    index = Signal((), Kind.INDEX, Clock.REQUEST)
    looked_up = reading(Lookup(np.zeros((3, 2), np.float32)), index)
    selected = Graph(
        {"row": SelectRow()},
        (Synapse("table", "row"), Synapse("x", "row", 1)),
        {"table": Signal((5, 2), Kind.VALUE, Clock.REQUEST), "x": index},
        {"y": "row"},
    )
    for graph, rows in ((looked_up, 3), (selected, 5)):
        assert {int(sample(graph, seed)["x"][0]) for seed in range(64)} == set(range(rows))


def test_a_file_that_nobody_knows_is_asked_for() -> None:
    graph = reading(Identity(), FILE)
    with pytest.raises(UserError, match="give one with --input FILE"):
        sample(graph)


@pytest.mark.parametrize("name", names())
def test_every_zoo_model_takes_its_sample(name: str) -> None:
    graph = flatten(load(name))
    found = sample(graph)
    assert set(found) == set(graph.inputs)
    program = ENGINES["cpu"]().build(graph)
    outputs = program.run(program.initial_state(1), found, graph.steps or 2)[1]
    assert all(np.isfinite(array).all() for array in outputs.values())


@pytest.mark.parametrize("shape", [(), (-1,), (-1, -1), (3, -1), (0, 4)])
@pytest.mark.parametrize("kind", [Kind.FLOAT32, Kind.BYTES, Kind.INT64])
def test_a_model_that_leaves_axes_open_gets_a_sample_of_small_ones(shape: tuple[int, ...], kind: Kind) -> None:
    function = PythonFunction("f", "/", (("f.py", "0" * 64),), (("x", kind.value, shape),), ("y", "bool", ()))
    found = sample(Graph({"y": function}, (Synapse("x", "y"),), {"x": function.signals()[0]}, {"y": "y"}))["x"]
    assert found.dtype == kind.dtype
    assert all(size == wanted or wanted < 0 < size for size, wanted in zip(found.shape, (1, *shape), strict=True))
