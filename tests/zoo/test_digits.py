"""A digit as MNIST's were made is one for models that have seen MNIST only."""

from __future__ import annotations

import numpy as np
import pytest

from synfire.engines.cpu.engine import CpuEngine
from synfire.graph import flatten
from synfire.graph.images import accepting_images
from synfire.graph.passes import simplify
from synfire.zoo import digit_inputs, held_out_digits, load, picture_file
from synfire.zoo.digits import as_mnist

COUNT = 100


def test_a_digit_has_mnists_size_levels_and_middle() -> None:
    for digit in held_out_digits()[0][:20]:
        picture = as_mnist(digit)
        assert picture.shape == (28, 28)
        assert (picture.min(), picture.max()) == (0, 1)
        rows, columns = np.nonzero(picture)
        assert max(np.ptp(rows), np.ptp(columns)) < 20
        middles = [float(picture.sum(axis=axis) @ np.arange(28) / picture.sum()) for axis in (0, 1)]
        assert np.abs(np.array(middles) - 13.5).max() <= 0.5


def test_an_empty_digit_is_an_empty_picture() -> None:
    assert not as_mnist(np.zeros((8, 8), np.float32)).any()


@pytest.mark.parametrize("files", ["numbers", "files", "negatives"])
@pytest.mark.parametrize("name", ["svgg-mnist", "scnn-mnist", "sresnet-mnist", "stransformer-mnist"])
def test_nine_of_ten_digits_are_right_where_mnist_was_learnt(name: str, files: str) -> None:
    images, labels = held_out_digits()
    graph = load(name) if files == "numbers" else accepting_images(load(name), files == "negatives")
    graph = simplify(flatten(graph))
    sent = [digit_inputs(graph.inputs, image, picture_file(graph)) for image in images[:COUNT]]
    ((port, _),) = graph.inputs.items()
    program = CpuEngine().build(graph)
    _, outputs = program.run(
        program.initial_state(COUNT), {port: np.concatenate([each[port] for each in sent])}, graph.steps or 1
    )
    (scores,) = outputs.values()
    assert np.mean(scores[-1].argmax(axis=1) == labels[:COUNT]) >= 0.9
