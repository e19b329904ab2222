"""In a batch, the sample that is at fault is named."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from synfire.base.errors import UserError
from synfire.ops import Array
from synfire.ops.event_decode import EventDecode
from synfire.ops.event_frames import EventFrames
from synfire.ops.image_decode import ImageDecode
from synfire.ops.operator import Stateless
from synfire.ops.samples import each_sample
from synfire.ops.wav_decode import WavDecode
from synfire.zoo import load, sample

EVENTS = np.array([[0, 1, 1, 0], [5, 1, 0, 1]])
GOOD_WAV = sample(load("srnn-spoken"))["input"][0]
WAV = next(each for each in load("srnn-spoken").operators.values() if isinstance(each, WavDecode))


def png() -> bytes:
    file = io.BytesIO()
    Image.new("L", (2, 2)).save(file, "PNG")
    return file.getvalue()


def batch(*samples: object) -> Array:
    found = np.empty(len(samples), object)
    for i, each in enumerate(samples):
        found[i] = each
    return found


@pytest.mark.parametrize(
    ("operator", "good", "bad", "cure"),
    [
        (ImageDecode(1, 2, 2), png(), b"no picture", "send one of those"),
        (ImageDecode(1, 2, 2), png(), png()[:-30], "send a whole PNG or JPEG file"),
        (WAV, GOOD_WAV, b"no sound", "send WAV"),
        (EventDecode(), EVENTS.astype("<i8").tobytes(), b"no rows", "send events.astype"),
        (EventFrames(2, 2, 2, 1e-3), EVENTS, EVENTS[::-1], "sort the events by time"),
    ],
    ids=["other bytes", "a cut picture", "no sound", "no rows", "unsorted events"],
)
def test_a_bad_file_is_named_by_its_place_in_the_batch(
    operator: Stateless, good: object, bad: object, cure: str
) -> None:
    with pytest.raises(UserError, match=rf"^sample 1 of the batch \(counted from 0\): .*{cure}"):
        operator.apply(batch(good, bad, good))
    with pytest.raises(UserError, match=rf"^(?!sample).*{cure}"):
        operator.apply(batch(bad))


def test_samples_are_taken_together_from_each_input() -> None:
    found = each_sample(lambda a, b: a - b, np.array([5, 7]), np.array([1, 2]))
    assert found == [4, 5]
