"""The functions between models: their values, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from synfire.base.errors import UserError
from synfire.chains.functions import ArgMax, Concatenate, Label, Majority, Mean, Softmax, Text, texts
from synfire.ops import Clock, Kind, Signal

SCORES = Signal((3,), Kind.VALUE, Clock.RUNNING)
NUMBER = Signal((), Kind.INDEX, Clock.REQUEST)
WORDS = Signal((), Kind.BYTES, Clock.REQUEST)
STEPS = Signal((3,), Kind.SPIKE, Clock.STEP)


def test_argmax_gives_the_first_of_the_largest() -> None:
    assert ArgMax().signal({"x": SCORES}) == NUMBER
    assert ArgMax()({"x": np.float32([[1, 3, 3], [2, 0, 1]])}).tolist() == [1, 0]


def test_softmax_gives_shares_of_one_also_of_large_scores() -> None:
    shares = Softmax()({"x": np.float32([[1000, 1000, -1000]])})
    assert Softmax().signal({"x": SCORES}) == Signal((3,), Kind.VALUE, Clock.REQUEST)
    assert shares.tolist() == [[0.5, 0.5, 0.0]]


def test_label_names_a_class_and_refuses_one_without_name() -> None:
    label = Label(("cat", "dog"))
    assert label.signal({"x": NUMBER}) == WORDS
    assert label({"x": np.array([1, 0])}).tolist() == [b"dog", b"cat"]
    with pytest.raises(UserError, match="2 labels, and none for 2; name more"):
        label({"x": np.array([2])})


def test_text_fills_names_with_values() -> None:
    text = Text("{word}: {number} of {scores}, {{so}}")
    signals = {"word": WORDS, "number": NUMBER, "scores": SCORES}
    values = {"word": texts("dög"), "number": np.array([3]), "scores": np.float32([[0.25, 1, 1e-9]])}
    assert text.signal(signals) == WORDS
    assert text(values)[0].decode() == "dög: 3 of [0.25, 1, 1e-09], {so}"


def test_concatenate_joins_along_the_last_axis() -> None:
    assert Concatenate().signal({"a": SCORES, "b": SCORES}).shape == (6,)
    assert Concatenate()({"a": np.array([[1]]), "b": np.array([[2, 3]])}).tolist() == [[1, 2, 3]]


def test_mean_adds_in_order_in_float32() -> None:
    given = {str(n): np.float32([each]) for n, each in enumerate((1e8, 1, -1e8))}
    assert Mean().signal({"a": SCORES, "b": SCORES}).kind is Kind.VALUE
    assert Mean()(given).tolist() == [np.float32((np.float32(1e8) + np.float32(1) - np.float32(1e8)) / 3)]


@pytest.mark.parametrize(
    ("ballots", "elected"),
    [
        ([texts("a"), texts("b"), texts("b")], [b"b"]),
        ([texts("b"), texts("a")], [b"b"]),
        ([np.array([4]), np.array([5]), np.array([5])], [5]),
        ([np.float32([[0, 9, 0]]), np.float32([[1, 0, 2]]), np.float32([[0, 1, 0]])], [1]),
    ],
)
def test_majority_elects_what_most_say_or_what_the_first_of_equals_does(ballots: list[Any], elected: list[Any]) -> None:
    assert Majority()({str(n): each for n, each in enumerate(ballots)}).tolist() == elected


@pytest.mark.parametrize(
    ("function", "inputs", "told"),
    [
        (ArgMax(), {"x": NUMBER}, "takes a vector"),
        (ArgMax(), {"x": SCORES, "y": SCORES}, "takes one input"),
        (Softmax(), {"x": WORDS}, "takes a vector"),
        (Label(("a",)), {"x": SCORES}, "put an argmax before it"),
        (Text("{y}"), {"x": NUMBER}, "reads {y}, which is no input of this step"),
        (Text("{x}"), {"x": STEPS}, "a value at each time step"),
        (Text("{x!r}"), {"x": NUMBER}, "only an input's name"),
        (Text("{x"), {"x": NUMBER}, "cannot be read"),
        (Concatenate(), {"x": SCORES, "y": NUMBER}, "cannot join"),
        (Mean(), {"x": SCORES}, "two inputs or more"),
        (Mean(), {"x": WORDS, "y": WORDS}, "takes numbers"),
        (Majority(), {"x": SCORES, "y": NUMBER}, "that are alike"),
    ],
)
def test_what_a_function_cannot_take_is_refused_with_what_it_takes(
    function: Any, inputs: dict[str, Signal], told: str
) -> None:
    with pytest.raises(UserError, match=told):
        function.signal(inputs)
