"""The Open Inference Protocol's calls, for its REST and its gRPC form alike: requests, their parameters, and answers."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

from synfire.base.errors import UnknownName, UserError
from synfire.gateway.request import Answer, Request
from synfire.gateway.status import NotSupported
from synfire.wire.oip import InferRequest, InferResponse

STEP_BY_STEP = "step_by_step"
"""Request parameter of the streaming endpoints: false asks for one response with everything instead of one per part."""

PART_STEPS = "part_steps"
"""Request parameter of the streaming endpoints: how many time steps each part holds; 1 when left out."""

FINAL = "triton_final_response"
"""Response parameter of the streaming endpoints: whether this is the request's last response."""

_LONGEST_US = 10**15  # thirty years: any whole number may come, and not all of them fit into a float

REQUEST_PARAMETERS: Mapping[str, Any] = {
    "sequence_id": (int, str),
    "sequence_start": bool,
    "sequence_end": bool,
    "timeout": int,
    "binary_data_output": bool,
    STEP_BY_STEP: bool,
    PART_STEPS: int,
    "triton_enable_empty_final_response": bool,
}
"""What a request's `parameters` may hold, and of which types. Others would be ignored, so they are refused."""


def to_request(
    model: str, version: str, asked: InferRequest, timeout_s: float | None = None, caller: str = ""
) -> Request:
    """The data plane's request. `timeout_s` is what the transport allows, beside the `timeout` parameter (µs); `caller` is who calls,
    where that is said."""
    parameters = _checked(asked.parameters)
    for each in asked.outputs:
        _check_output(each.name, each.parameters)
    part_steps = parameters.get(PART_STEPS, 0)
    if PART_STEPS in parameters and part_steps < 1:
        raise UserError(f"request parameter {PART_STEPS!r} is {part_steps}; a part holds at least one time step")
    if parameters.get("timeout"):
        named_s = min(parameters["timeout"], _LONGEST_US) / 1e6
        timeout_s = named_s if timeout_s is None else min(timeout_s, named_s)
    return Request(
        model,
        asked.inputs,
        version,
        tuple([each.name for each in asked.outputs]),
        asked.id,
        _session(parameters.get("sequence_id", "")),
        parameters.get("sequence_start", False),
        parameters.get("sequence_end", False),
        timeout_s,
        part_steps,
        caller=caller,
    )


class Naming:
    """Lets what a block refuses say of which model's request it speaks, and of which by its caller's own id, once that is known. It may stand
    at several blocks."""

    __slots__ = ("_model", "request_id")

    def __init__(self, model: str, request_id: str = "") -> None:
        self._model = model
        self.request_id = request_id

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, UserError) and not isinstance(error, UnknownName) and len(error.args) == 1:
            request = f"request {self.request_id!r} to " if self.request_id else ""
            error.args = (f"{request}model {self._model!r}: {error}",)


def to_response(answer: Answer) -> InferResponse:
    """A whole answer as the protocol says it."""
    return InferResponse(answer.model, answer.outputs, answer.id, answer.version)


def to_part(answer: Answer) -> InferResponse:
    """One response of several: its parameters say which time steps it covers, and whether it is the last."""
    parameters = {"first_step": answer.first_step, "steps": answer.steps, FINAL: answer.last}
    return InferResponse(answer.model, answer.outputs, answer.id, answer.version, parameters)


def _checked(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    for name, value in parameters.items():
        if name not in REQUEST_PARAMETERS:
            raise UserError(
                f"request parameter {name!r} has no effect here, so leave it out; those with one are {sorted(REQUEST_PARAMETERS)}"
            )
        wanted = REQUEST_PARAMETERS[name]
        if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
            raise UserError(f"request parameter {name!r} is {value!r}; it takes {_WORDS[wanted]}")
    return parameters


_WORDS: dict[Any, str] = {bool: "true or false", int: "a whole number", (int, str): "a whole number or a string"}


def _check_output(name: str, parameters: Mapping[str, Any]) -> None:
    unknown = sorted(set(parameters) - {"binary_data"})
    if unknown:
        raise NotSupported(f"output {name!r} asks for {unknown}, which is not offered; take the plain tensor instead")


def _session(name: int | str) -> str:
    """The session's name; 0 and the empty string mean none, as for Triton."""
    return str(name) if name else ""
