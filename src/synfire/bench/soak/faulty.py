"""Requests that cannot be answered, and what must be said to them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from synfire.bench.soak.questions import Question, post, request_of


def _nowhere(model: str, question: Question) -> bytes:
    return request_of(f"no-{model}", question.inputs)


def _nothing(model: str, question: Question) -> bytes:
    return post(f"/v2/models/{model}/infer", b"")


def _gibberish(model: str, question: Question) -> bytes:
    return post(f"/v2/models/{model}/infer", b"\xff{]" * 50)


def _shapeless(model: str, question: Question) -> bytes:
    return request_of(model, {name: array[..., :-1] for name, array in question.inputs.items()})


def _nameless(model: str, question: Question) -> bytes:
    return request_of(model, {f"no-{name}": array for name, array in question.inputs.items()})


def _cut_off(model: str, question: Question) -> bytes:
    whole = json.dumps({"inputs": [{"name": name, "shape": [1], "datatype": "FP32"} for name in question.inputs]})
    return post(f"/v2/models/{model}/infer", whole[:-3].encode())


def _sessionless(model: str, question: Question) -> bytes:
    return request_of(model, question.inputs, parameters={"sequence_id": "nobody-began-it"})


FAULTY: Sequence[tuple[Callable[[str, Question], bytes], int, str]] = (
    (_nowhere, 404, "no model named"),
    (_nothing, 400, "not an Open Inference Protocol"),
    (_gibberish, 400, "not an Open Inference Protocol"),
    (_shapeless, 400, "shape"),
    (_nameless, 400, "input"),
    (_cut_off, 400, "not an Open Inference Protocol"),
    (_sessionless, 400, "is not open"),
)
"""Requests that are at fault, the status of their answer, and words of it."""
