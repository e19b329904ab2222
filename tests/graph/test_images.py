from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from synfire.base.errors import UserError
from synfire.graph import Graph, Synapse, reference
from synfire.graph.images import accepting_images
from synfire.ops import Clock, Kind, Signal
from synfire.ops.flatten import Flatten


def graph(signal: Signal, name: str = "flatten") -> Graph:
    return Graph({name: Flatten()}, (Synapse("x", name),), {"x": signal}, {"y": name})


def picture(*shape: int) -> Signal:
    return Signal(shape, Kind.VALUE, Clock.REQUEST)


def png(pixels: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    array = np.empty(1, object)
    array[0] = file.getvalue()
    return array


def test_a_file_gives_what_its_numbers_give() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    found = reference.run(accepting_images(graph(picture(1, 3, 4))), {"x": png(pixels)}, steps=1)
    numbers = (pixels / 255).astype(np.float32)[None, None]
    np.testing.assert_array_equal(found["y"], reference.run(graph(picture(1, 3, 4)), {"x": numbers}, steps=1)["y"])


def test_a_negative_turns_white_paper_black() -> None:
    found = reference.run(
        accepting_images(graph(picture(1, 2, 2)), True), {"x": png(np.full((2, 2), 255, np.uint8))}, steps=1
    )
    np.testing.assert_array_equal(found["y"], np.zeros((1, 4), np.float32))


def test_a_picture_of_another_size_is_scaled() -> None:
    found = reference.run(
        accepting_images(graph(picture(3, 2, 2))), {"x": png(np.full((9, 7, 3), 51, np.uint8))}, steps=1
    )
    np.testing.assert_allclose(found["y"], np.full((1, 12), 0.2), rtol=1e-6)


def test_the_decoder_takes_a_free_name() -> None:
    assert set(accepting_images(graph(picture(1, 2, 2), "image_decode")).operators) == {"image_decode", "image_decode_"}


@pytest.mark.parametrize(
    "signal",
    [picture(2, 3, 4), picture(12), picture(1, -1, 4), Signal((1, 3, 4)), Signal((), Kind.BYTES, Clock.REQUEST)],
)
def test_what_is_no_picture_is_refused(signal: Signal) -> None:
    with pytest.raises(UserError, match="serve it without accepting images"):
        accepting_images(Graph({}, (), {"x": signal}, {"y": "x"}))


def test_a_model_of_several_inputs_is_refused() -> None:
    several = Graph({}, (), {"a": picture(1, 2, 2), "b": picture(1, 2, 2)}, {"y": "a"})
    with pytest.raises(UserError, match=r"takes \['a', 'b'\], not one picture"):
        accepting_images(several)


def test_an_output_that_is_the_picture_itself_is_the_decoded_one() -> None:
    assert accepting_images(Graph({}, (), {"x": picture(1, 2, 2)}, {"y": "x"})).outputs == {"y": "image_decode"}
