"""Open Inference Protocol v2 over gRPC, with Triton's streaming, repository index and statistics."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import grpc
import msgspec
import numpy as np
from google.protobuf.message import DecodeError

from synfire.base.errors import DeadlineExceeded, UserError
from synfire.base.log import LOGGER
from synfire.gateway import descriptions, oip
from synfire.gateway.api import APIS, Api
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.http import CALLER
from synfire.gateway.proto import SERVICE, message, methods
from synfire.gateway.request import Answer
from synfire.gateway.status import NotSupported, error_text, extra_headers, grpc_status, is_ours
from synfire.ops import Array
from synfire.wire.oip import (
    DATATYPES,
    InferRequest,
    InferResponse,
    RequestedOutput,
    datatype_of,
    decode_raw,
    encode_raw,
)

Message = Any
Method = Callable[[Message, Any], Awaitable[Message]]

_CONTENTS: Mapping[str, str] = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}

_Response = message("ModelInferResponse")
_StreamResponse = message("ModelStreamInferResponse")
_Parameter = message("InferParameter")


class OipGrpc:
    """The service's methods, by their protocol names in lower case."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    async def server_live(self, request: Message, context: Any) -> Message:
        return message("ServerLiveResponse")(live=True)

    async def server_ready(self, request: Message, context: Any) -> Message:
        return message("ServerReadyResponse")(ready=self._plane.ready)

    async def model_ready(self, request: Message, context: Any) -> Message:
        if request.name in self._plane.coming:
            return message("ModelReadyResponse")(ready=False)
        models = self._plane.answering(request.name, request.version)
        return message("ModelReadyResponse")(
            ready=not any(descriptions.why_not_ready(self._plane, each) for each in models)
        )

    async def server_metadata(self, request: Message, context: Any) -> Message:
        return message("ServerMetadataResponse")(**_fields(descriptions.server_metadata()))

    async def model_metadata(self, request: Message, context: Any) -> Message:
        model = await self._plane.described(request.name, request.version)
        about = descriptions.model_metadata(self._plane, model)
        return message("ModelMetadataResponse")(**_fields(about))

    async def model_statistics(self, request: Message, context: Any) -> Message:
        models = (self._plane.model(request.name, request.version),) if request.name else self._plane.models
        return message("ModelStatisticsResponse")(
            model_stats=[_fields(each) for each in descriptions.statistics(models)]
        )

    async def repository_index(self, request: Message, context: Any) -> Message:
        index = await descriptions.repository_index(self._plane, request.ready)
        return message("RepositoryIndexResponse")(models=[_fields(each) for each in index])

    async def repository_model_load(self, request: Message, context: Any) -> Message:
        await descriptions.repository(self._plane, "load", request.model_name).load(request.model_name)
        return message("RepositoryModelLoadResponse")()

    async def repository_model_unload(self, request: Message, context: Any) -> Message:
        await descriptions.repository(self._plane, "unload", request.model_name).unload(request.model_name)
        return message("RepositoryModelUnloadResponse")()

    async def model_infer(self, request: Message, context: Any) -> Message:
        with oip.Naming(request.model_name, request.id):
            asked = read_request(request)
            wanted = oip.to_request(
                request.model_name, request.model_version, asked, context.time_remaining(), _caller(context)
            )
            return write_response(oip.to_response(await self._plane.infer(wanted)))

    async def model_stream_infer(self, requests: AsyncIterator[Message], context: Any) -> None:
        """Answer one request after the other, part by part; an error is an answer too, and the stream goes on.

        Bytes that are no request end it: which one they were to be, no answer could say.
        """
        try:
            async for request in requests:
                if isinstance(request, UserError):
                    await context.abort(grpc_status(request), str(request))  # an answer could not say what it answers
                async with aclosing(self._responses(request, _caller(context))) as responses:
                    async for response in responses:
                        await self._write(context, response)
        except _Unread as error:
            await error.writing  # gRPC sends one thing at a time; the call itself is over already
            await context.abort(grpc_status(error), str(error))

    async def _responses(self, request: Message, caller: str) -> AsyncGenerator[Message, None]:
        try:
            with oip.Naming(request.model_name, request.id):
                async with aclosing(self._parts(request, caller)) as parts:
                    async for part in parts:
                        yield _StreamResponse(infer_response=write_response(oip.to_part(part)))
        except Exception as error:
            _log(error, "ModelStreamInfer")
            yield _StreamResponse(error_message=error_text(error), infer_response=_Response(id=request.id))

    async def _write(self, context: Any, response: Message) -> None:
        """Send a response. Raises `_Unread` for a caller who does not read: its call would hold a place for ever."""
        writing = asyncio.ensure_future(context.write(response))
        try:
            done, _ = await asyncio.wait({writing}, timeout=self._plane.limits.body_timeout_s)
        except asyncio.CancelledError:
            writing.cancel()
            raise
        if not done:
            raise _Unread(writing)
        await writing

    async def _parts(self, request: Message, caller: str) -> Any:
        asked = read_request(request)
        wanted = oip.to_request(request.model_name, request.model_version, asked, caller=caller)
        if asked.parameters.get(oip.STEP_BY_STEP, True):
            async with aclosing(self._plane.stream(wanted)) as answers:
                async for answer in answers:
                    yield answer
        else:
            whole: Answer = await self._plane.infer(wanted)
            yield whole

    def handlers(self) -> Iterable[Any]:
        """The service as gRPC takes it."""
        found = {each.name: self._handler(each) for each in methods()}
        return grpc.method_handlers_generic_handler(SERVICE, found), _Others()

    def _handler(self, method: Any) -> Any:
        answer = getattr(self, _snake(method.name))
        takes, gives = _reading(method.input_type.name), message(method.output_type.name).SerializeToString
        if method.server_streaming:
            return grpc.stream_stream_rpc_method_handler(answer, takes, gives)
        return grpc.unary_unary_rpc_method_handler(_refusing(answer), takes, gives)


class _Others(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Refuses the service's methods that are not offered, and says which are: gRPC alone would say "Method not found!"."""

    def service(self, details: Any) -> Any:
        service, _, method = details.method.lstrip("/").rpartition("/")
        return grpc.stream_stream_rpc_method_handler(self._refuse(method)) if service == SERVICE else None

    def _refuse(self, method: str) -> Callable[[Any, Any], Awaitable[None]]:
        offered = ", ".join(each.name for each in methods())
        error = NotSupported(f"this gateway does not offer {method}; {SERVICE} has {offered}, and REST has the rest")

        async def refuse(requests: Any, context: Any) -> None:
            await context.abort(grpc_status(error), str(error))

        return refuse


class _Unread(DeadlineExceeded):
    """Raised when a caller does not read its responses; `writing` is the one that waits."""

    def __init__(self, writing: asyncio.Future[None]) -> None:
        super().__init__("a response was not read within the limit body_timeout_s; read faster, or ask for less")
        self.writing = writing


def read_request(request: Message) -> InferRequest:
    """A `ModelInferRequest` as `synfire.wire.oip` says it. Raises `UserError` for tensors that do not fit."""
    outputs = tuple(RequestedOutput(each.name, None, _parameters(each)) for each in request.outputs)
    return InferRequest(request.id, _parameters(request), _tensors(request), outputs)


def write_response(response: InferResponse) -> Message:
    """A `ModelInferResponse` with raw contents."""
    return _Response(
        model_name=response.model_name,
        model_version=response.model_version,
        id=response.id,
        parameters={name: _parameter(value) for name, value in response.parameters.items()},
        outputs=[
            {"name": name, "datatype": datatype_of(array.dtype), "shape": array.shape}
            for name, array in response.outputs.items()
        ],
        raw_output_contents=[encode_raw(array) for array in response.outputs.values()],
    )


def _reading(name: str) -> Callable[[bytes], Message]:
    """Reads messages of that name. Bytes that are none become a `UserError`: gRPC tells a raised one as UNKNOWN."""
    kind = message(name)

    def reading(data: bytes) -> Message:
        try:
            return kind.FromString(data)
        except DecodeError as error:
            return UserError(f"the {len(data)} bytes received are no {kind.DESCRIPTOR.full_name}: {error}; send one")

    return reading


def _refusing(method: Method) -> Method:
    """The method with its errors told as gRPC statuses."""

    async def answer(request: Message, context: Any) -> Message:
        try:
            if isinstance(request, UserError):
                raise request
            return await method(request, context)
        except Exception as error:
            _log(error, method.__name__)
            trailing = [
                (name.decode(), value.decode()) for name, value in extra_headers(error) if name == b"retry-after"
            ]
            await context.abort(grpc_status(error), error_text(error), tuple(trailing))

    return answer


def _caller(context: Any) -> str:
    """Who calls, where the metadata say that."""
    return str(dict(context.invocation_metadata() or ()).get(CALLER.lower(), ""))


def _tensors(request: Message) -> dict[str, Array]:
    raw: Sequence[bytes] = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise UserError(
            f"raw_input_contents has {len(raw)} entries for {len(request.inputs)} inputs; send one for each"
        )
    found: dict[str, Array] = {}
    for i, tensor in enumerate(request.inputs):
        where = f"input {tensor.name!r}"
        if tensor.name in found:
            raise UserError(f"{where} comes twice; name each tensor once")
        if not raw:
            found[tensor.name] = _from_contents(tensor, where)
        elif tensor.HasField("contents"):
            raise UserError(f"{where} has contents beside raw_input_contents; send one of them")
        else:
            found[tensor.name] = decode_raw(raw[i], tensor.datatype, list(tensor.shape), where)
    return found


def _from_contents(tensor: Message, where: str) -> Array:
    if tensor.datatype not in _CONTENTS:
        known = ", ".join(DATATYPES)
        raise UserError(f"{where} has datatype {tensor.datatype!r}; choose of {known}; FP16 travels raw only")
    values = list(getattr(tensor.contents, _CONTENTS[tensor.datatype]))
    count = math.prod(tensor.shape)
    if min(tensor.shape, default=0) < 0 or len(values) != count:
        raise UserError(
            f"{where}: shape {list(tensor.shape)} takes {count} values, but {_CONTENTS[tensor.datatype]} has {len(values)}"
        )
    try:
        return np.array(values, DATATYPES[tensor.datatype]).reshape(tensor.shape)
    except (OverflowError, ValueError) as error:
        raise UserError(f"{where}: a value does not fit into {tensor.datatype}: {error}") from error


def _parameters(holder: Message) -> dict[str, Any]:
    return {
        name: getattr(value, value.WhichOneof("parameter_choice") or "", None)
        for name, value in holder.parameters.items()
    }


def _parameter(value: bool | int | str) -> Message:
    field = "bool_param" if isinstance(value, bool) else "int64_param" if isinstance(value, int) else "string_param"
    return _Parameter(**{field: value})


def _fields(struct: msgspec.Struct) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(struct)
    return found


def _snake(name: str) -> str:
    return "".join(f"_{each.lower()}" if each.isupper() else each for each in name).lstrip("_")


def _log(error: BaseException, where: str) -> None:
    if is_ours(error):
        LOGGER.error("%s failed", where, exc_info=error)


APIS.add("oip-grpc", Api(grpc=lambda plane: OipGrpc(plane).handlers()))
