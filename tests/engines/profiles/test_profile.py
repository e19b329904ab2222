"""What a profile is called, and what its id says."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest

from synfire.engines.profiles.profile import LATENCY, THROUGHPUT, Profile, Requirements

USUAL = Profile(
    model="net", digest="d" * 64, engine="cpu", format="float32", device="cpu", exact=True, goal=LATENCY,
    requires=Requirements(memory_bytes=10),
)  # fmt: skip


def test_an_id_is_the_digest_of_canonical_json() -> None:
    text = (
        '{"model":"' + "d" * 64 + '","requirements":{"memory_bytes":10,"workers":1},"schema":1,'
        '"tags":{"device":"cpu","engine":"cpu","exact":true,"format":"float32","goal":"latency"}}'
    )
    assert USUAL.id == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    "change",
    [
        {"digest": "e" * 64}, {"engine": "reference"}, {"format": "int8"}, {"device": "darwin3"}, {"exact": False},
        {"goal": THROUGHPUT}, {"requires": Requirements(memory_bytes=11)},
        {"requires": Requirements(memory_bytes=10, workers=2)},
    ],
)  # fmt: skip
def test_whatever_makes_a_difference_makes_another_id(change: dict[str, Any]) -> None:
    assert msgspec.structs.replace(USUAL, **change).id != USUAL.id


def test_the_name_of_the_model_makes_none() -> None:
    assert msgspec.structs.replace(USUAL, model="other").id == USUAL.id


@pytest.mark.parametrize(
    ("engine", "format", "goal", "name"),
    [
        ("cpu", "float32", LATENCY, "cpu-float32"),
        ("cpu", "float32", THROUGHPUT, "cpu-float32-throughput"),
        ("cpu-int8", "int8", LATENCY, "cpu-int8"),
        ("darwin3", "int8", LATENCY, "darwin3-int8"),
    ],
)
def test_a_name_says_engine_numbers_and_an_unusual_goal(engine: str, format: str, goal: str, name: str) -> None:
    assert msgspec.structs.replace(USUAL, engine=engine, format=format, goal=goal).name == name
