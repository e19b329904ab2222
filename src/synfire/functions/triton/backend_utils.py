"""What a `model.py` imports as `triton_python_backend_utils`: tensors, requests, responses, errors, and what a configuration says.

Written from NVIDIA's public documentation of the Python backend, for the processor: tensors are numpy's arrays. What is not here (models
that call models, decoupled answers, DLPack, metrics of one's own) is an `AttributeError` that says so by its name.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from synfire.functions.slot import Array

_NUMBERS: dict[str, Any] = {
    "TYPE_BOOL": np.bool_,
    "TYPE_INT8": np.int8,
    "TYPE_INT16": np.int16,
    "TYPE_INT32": np.int32,
    "TYPE_INT64": np.int64,
    "TYPE_UINT8": np.uint8,
    "TYPE_UINT16": np.uint16,
    "TYPE_UINT32": np.uint32,
    "TYPE_UINT64": np.uint64,
    "TYPE_FP16": np.float16,
    "TYPE_FP32": np.float32,
    "TYPE_FP64": np.float64,
    "TYPE_STRING": np.object_,
}
_ABSENT = (
    "InferenceResponseSender", "MetricFamily", "Metric", "PreferredMemory", "from_dlpack", "is_model_ready", "load_model",
    "unload_model", "TRITONSERVER_MEMORY_CPU", "TRITONSERVER_MEMORY_GPU", "TRITONSERVER_RESPONSE_COMPLETE_FINAL",
)  # fmt: skip


def __getattr__(name: str) -> Any:
    known = "is not there when models are served by synfire (docs/triton.md)" if name in _ABSENT else "does not exist"
    raise AttributeError(f"triton_python_backend_utils.{name} {known}")


class TritonModelException(Exception):
    """Raised by a model, or here, for what cannot be done."""


class TritonError:
    """Why a request has no answer, with a code of those below."""

    UNKNOWN, INTERNAL, NOT_FOUND, INVALID_ARG, UNAVAILABLE, UNSUPPORTED, ALREADY_EXISTS, CANCELLED = range(8)

    def __init__(self, message: str, code: int = INTERNAL) -> None:
        self._message = message
        self._code = code

    def message(self) -> str:
        return self._message

    def code(self) -> int:
        return self._code


class Tensor:
    """An array with the name of an input or output."""

    def __init__(self, name: str, array: Any) -> None:
        if not isinstance(array, np.ndarray):
            raise TritonModelException(f"tensor {name!r} is made of a numpy array, and got {type(array).__name__}")
        self._name = name
        self._array = array

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> Array:
        return self._array

    def triton_dtype(self) -> str:
        """Its number format, such as `TYPE_FP32`."""
        return numpy_to_triton_type(self._array.dtype.type)

    def is_cpu(self) -> bool:
        return True

    def shape(self) -> list[int]:
        return list(self._array.shape)

    def __getattr__(self, name: str) -> Any:
        if name in ("to_dlpack", "from_dlpack", "__dlpack__", "__dlpack_device__"):
            raise AttributeError(
                f"tensors have no {name} when models are served by synfire; take as_numpy() (docs/triton.md)"
            )
        raise AttributeError(f"a tensor has no {name}")


class InferenceRequest:
    """What a model is asked. `exec`, by which a model asks another one, is not there: have an ensemble or a chain do that."""

    def __init__(
        self,
        request_id: str = "",
        correlation_id: int | str = 0,
        requested_output_names: Sequence[str] = (),
        model_name: str = "",
        model_version: int = -1,
        inputs: Sequence[Tensor] = (),
    ) -> None:
        self._request_id = request_id
        self._correlation_id = correlation_id
        self._requested = list(requested_output_names)
        self._model_name = model_name
        self._model_version = model_version
        self._inputs = list(inputs)

    def inputs(self) -> list[Tensor]:
        return self._inputs

    def request_id(self) -> str:
        return self._request_id

    def correlation_id(self) -> int | str:
        return self._correlation_id

    def requested_output_names(self) -> list[str]:
        return self._requested

    def model_name(self) -> str:
        return self._model_name

    def model_version(self) -> int:
        return self._model_version

    def parameters(self) -> str:
        """None reach a model here."""
        return "{}"

    def flags(self) -> int:
        return 0

    def timeout(self) -> int:
        """In microseconds; 0 for none. A request that is late is ended from outside."""
        return 0

    def is_cancelled(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        absent = {
            "exec": "a model cannot ask another one",
            "async_exec": "a model cannot ask another one",
            "get_response_sender": "a request has one answer",
        }
        raise AttributeError(
            f"a request has no {name} when models are served by synfire: {absent.get(name, 'it is not there')} (docs/triton.md)"
        )


class InferenceResponse:
    """The answer to one request: tensors, or an error."""

    def __init__(
        self,
        output_tensors: Sequence[Tensor] = (),
        error: TritonError | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        if parameters:
            raise TritonModelException("a response has no parameters when models are served by synfire; give an output")
        self._tensors = list(output_tensors or ())
        self._error = error

    def output_tensors(self) -> list[Tensor]:
        return self._tensors

    def has_error(self) -> bool:
        return self._error is not None

    def error(self) -> TritonError | None:
        return self._error


class Logger:
    """Writes to the log."""

    ERROR, WARNING, INFO, VERBOSE = "error", "warning", "info", "verbose"

    @classmethod
    def log(cls, message: str, level: str = INFO) -> None:
        print(f"{level}: {message}", file=sys.stderr, flush=True)

    @classmethod
    def log_error(cls, message: str) -> None:
        cls.log(message, cls.ERROR)

    @classmethod
    def log_warn(cls, message: str) -> None:
        cls.log(message, cls.WARNING)

    @classmethod
    def log_info(cls, message: str) -> None:
        cls.log(message, cls.INFO)

    @classmethod
    def log_verbose(cls, message: str) -> None:
        cls.log(message, cls.VERBOSE)


class ModelConfig:
    """The configuration that `auto_complete_config` is given, and adds to."""

    def __init__(self, model_config: str | Mapping[str, Any]) -> None:
        self._config: dict[str, Any] = json.loads(model_config) if isinstance(model_config, str) else dict(model_config)

    def as_dict(self) -> dict[str, Any]:
        return self._config

    def set_max_batch_size(self, max_batch_size: int) -> None:
        """One that the file has may become smaller, and no larger."""
        there = self._config.get("max_batch_size", 0)
        self._config["max_batch_size"] = min(there, max_batch_size) if there else max_batch_size

    def set_dynamic_batching(self) -> None:
        self._config.setdefault("dynamic_batching", {})

    def set_model_transaction_policy(self, transaction_policy_dict: Mapping[str, Any]) -> None:
        if transaction_policy_dict.get("decoupled"):
            raise TritonModelException(
                "a decoupled model gives no, or many answers to a request, and here each has one"
            )

    def add_input(self, input: Mapping[str, Any]) -> None:
        self._add("input", input)

    def add_output(self, output: Mapping[str, Any]) -> None:
        self._add("output", output)

    def _add(self, side: str, tensor: Mapping[str, Any]) -> None:
        """Add a tensor that is not there yet. Raises `TritonModelException` for one that is, and is otherwise."""
        missing = {"name", "data_type", "dims"} - set(tensor)
        if missing:
            raise TritonModelException(f"{side} {dict(tensor)} has no {', '.join(sorted(missing))}")
        if not isinstance(tensor["dims"], (list, tuple)) or not all(isinstance(each, int) for each in tensor["dims"]):
            raise TritonModelException(
                f"{side} {tensor['name']!r} has dims {tensor['dims']!r}, and takes a list of sizes"
            )
        tensors: list[dict[str, Any]] = self._config.setdefault(side, [])
        same = next((each for each in tensors if each["name"] == tensor["name"]), None)
        if same is None:
            tensors.append(dict(tensor))
        elif any(list(same[key]) != list(tensor[key]) for key in ("data_type", "dims")):
            raise TritonModelException(
                f"{side} {tensor['name']!r} is configured as {same}, and the model says {dict(tensor)}"
            )


def get_input_tensor_by_name(inference_request: InferenceRequest, name: str) -> Tensor | None:
    """The request's input of that name; None where there is none."""
    return _named(inference_request.inputs(), name)


def get_output_tensor_by_name(inference_response: InferenceResponse, name: str) -> Tensor | None:
    """The response's output of that name; None where there is none."""
    return _named(inference_response.output_tensors(), name)


def get_input_config_by_name(model_config: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """What the configuration says of an input; None where it does not."""
    return _configured(model_config, "input", name)


def get_output_config_by_name(model_config: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """What the configuration says of an output; None where it does not."""
    return _configured(model_config, "output", name)


def using_decoupled_model_transaction_policy(model_config: Mapping[str, Any]) -> bool:
    """Whether the model gives as many answers as it likes: never, here."""
    return bool(model_config.get("model_transaction_policy", {}).get("decoupled", False))


def triton_string_to_numpy(triton_type_string: str) -> Any:
    """numpy's type for `TYPE_FP32` and the like; None for a format that is not served."""
    return _NUMBERS.get(triton_type_string)


def triton_to_numpy_type(data_type: str) -> Any:
    """As `triton_string_to_numpy`."""
    return triton_string_to_numpy(data_type)


def numpy_to_triton_type(data_type: Any) -> str:
    """The name of numpy's type, such as `TYPE_FP32`. Raises `TritonModelException` for one that is not served."""
    if np.dtype(data_type).kind in "SUO":
        return "TYPE_STRING"
    found = next((name for name, each in _NUMBERS.items() if np.dtype(each) == np.dtype(data_type)), None)
    if found is None:
        raise TritonModelException(f"{np.dtype(data_type)} is no number format that is served")
    return found


def _named(tensors: Sequence[Tensor], name: str) -> Tensor | None:
    return next((each for each in tensors if each.name() == name), None)


def _configured(config: Mapping[str, Any], side: str, name: str) -> dict[str, Any] | None:
    return next((each for each in config.get(side, []) if each["name"] == name), None)
