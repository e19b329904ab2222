"""Computes requests by a `TritonPythonModel`."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from synfire.base.errors import UserError
from synfire.functions.slot import Array
from synfire.functions.source import told
from synfire.functions.triton.backend_utils import (
    InferenceRequest,
    InferenceResponse,
    Tensor,
    TritonError,
    TritonModelException,
    triton_string_to_numpy,
)
from synfire.functions.triton.loading import model_class

Outcome = dict[str, Array] | BaseException


def triton_runner(path: Path, settings: str, at_end: ExitStack) -> Any:
    """What computes companies of requests by the model in the file, which is initialised, and finalised `at_end`. Raises `UserError` where
    it cannot be loaded."""
    asked = json.loads(settings)
    model = model_class(path)()
    try:
        if hasattr(model, "initialize"):
            model.initialize(dict(asked["args"]))
    except BaseException as error:
        raise UserError(f"{path}: initialize failed: {told(error, path.parent)}") from error
    if hasattr(model, "finalize"):
        at_end.callback(model.finalize)
    return _Runner(model, json.loads(asked["args"]["model_config"]), asked["args"])


class _Runner:
    """Has a `model` execute requests, and checks what it answers against its configuration."""

    def __init__(self, model: Any, config: Mapping[str, Any], args: Mapping[str, str]) -> None:
        self._model = model
        self._loop = asyncio.new_event_loop()
        self._rows = int(config["max_batch_size"])
        self._outputs = {each["name"]: each for each in config["output"]}
        self._name, self._version = args["model_name"], int(args["model_version"])

    def __call__(self, company: Sequence[Mapping[str, Array]]) -> Iterable[Outcome]:
        refusals = [self._refusal(arrays) for arrays in company]
        answers = self._answers([a for a, refused in zip(company, refusals, strict=True) if refused is None])
        return [next(answers) if refused is None else refused for refused in refusals]

    def _refusal(self, arrays: Mapping[str, Array]) -> UserError | None:
        """Why a request is not handed to the model: its batch is too large, or its inputs differ in it."""
        if not self._rows:
            return None
        rows = {name: len(array) for name, array in arrays.items()}
        if len(set(rows.values())) > 1:
            return UserError(f"the inputs differ in their batch: {rows}; make them equal")
        if max(rows.values()) > self._rows:
            return UserError(f"the batch is {max(rows.values())}, and max_batch_size {self._rows}; split the request")
        return None

    def _answers(self, company: Sequence[Mapping[str, Array]]) -> Iterator[Outcome]:
        requests = [self._request(arrays) for arrays in company]
        try:
            responses = self._executed(requests) if requests else []
            if len(responses) != len(requests):
                raise TritonModelException(
                    f"execute gave {len(responses)} responses to {len(requests)} requests; give one for each"
                )
        except BaseException as error:
            yield from [error] * len(requests)
            return
        yield from map(self._outcome, responses)

    def _executed(self, requests: Sequence[InferenceRequest]) -> list[Any]:
        found = self._model.execute(requests)
        return list(self._loop.run_until_complete(found) if inspect.isawaitable(found) else found)

    def _request(self, arrays: Mapping[str, Array]) -> InferenceRequest:
        return InferenceRequest(
            requested_output_names=list(self._outputs),
            model_name=self._name,
            model_version=self._version,
            inputs=[Tensor(name, array) for name, array in arrays.items()],
        )

    def _outcome(self, response: Any) -> Outcome:
        try:
            if not isinstance(response, InferenceResponse):
                raise TritonModelException(
                    f"execute gave {type(response).__name__}; give an InferenceResponse for each request"
                )
            error = response.error()
            if error is not None:
                return _raised(error)
            given = {each.name(): each.as_numpy() for each in response.output_tensors()}
            return {name: self._checked(name, given) for name in self._outputs}
        except TritonModelException as error:
            return error

    def _checked(self, name: str, given: Mapping[str, Array]) -> Array:
        config = self._outputs[name]
        if name not in given:
            raise TritonModelException(
                f"the response has no output {name!r}; its outputs are {', '.join(given) or 'none'}"
            )
        texts = config["data_type"] == "TYPE_STRING"
        shape: tuple[int, ...] = given[name].shape
        array: Array = (_bytes(given[name]) if texts else np.ascontiguousarray(given[name])).reshape(shape)
        wanted: list[int] = [*([-1] if self._rows else []), *config["dims"]]
        fits = len(shape) == len(wanted) and all(each in (-1, size) for each, size in zip(wanted, shape, strict=True))
        if array.dtype != np.dtype(triton_string_to_numpy(config["data_type"])) or not fits:
            raise TritonModelException(
                f"output {name!r} came as {array.dtype} of shape {list(shape)}, and its configuration says "
                f"{config['data_type']} of shape {wanted}"
            )
        return array


def _raised(error: TritonError) -> BaseException:
    """Those that are the caller's mistake, and others."""
    return (UserError if error.code() == TritonError.INVALID_ARG else TritonModelException)(error.message())


def _bytes(array: Array) -> Array:
    found = np.empty(array.size, object)
    found[:] = [each if isinstance(each, bytes) else str(each).encode() for each in array.flat]
    return found
