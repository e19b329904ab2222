"""The Open Inference Protocol over gRPC as a caller speaks it: requests, answers, and one connection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc

from synfire.bench.soak.connection import Broken, Reply
from synfire.gateway.oip import FINAL
from synfire.gateway.proto import SERVICE, message
from synfire.ops import Array
from synfire.wire.oip import InferResponse, datatype_of, decode_raw, encode_raw

Message = Any

_OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0))
"""Each caller has a connection of its own, and asks again itself."""

_HTTP = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
"""Statuses as HTTP has them, in which exchanges are judged; all others are 500."""

_BROKEN = (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN)
_RESET = "RST_STREAM"


@dataclass(frozen=True)
class RpcRequest:
    """A request, and whether its answer is to come in parts."""

    message: Message
    streamed: bool = False


@dataclass
class RpcReply(Reply):
    """An answer as it came: in one response, or in parts, each with whether it is the final one. `error` is what a stream ended in."""

    parts: list[tuple[bool, InferResponse]] = field(default_factory=list)
    error: str = ""


def rpc_request(
    model: str, inputs: Mapping[str, Array], id: str = "", part_steps: int = 0, raw: bool = True
) -> RpcRequest:
    """The request of an inference, with its tensors `raw` or as typed numbers; its answer comes in parts of `part_steps`, or whole."""
    return RpcRequest(
        message("ModelInferRequest")(
            model_name=model,
            id=id,
            parameters={"part_steps": {"int64_param": part_steps}} if part_steps else {},
            inputs=[_tensor(name, array, raw) for name, array in inputs.items()],
            raw_input_contents=[encode_raw(array) for array in inputs.values()] if raw else [],
        ),
        bool(part_steps),
    )


class RpcConnection:
    """A channel with one connection, one request at a time. `surplus` counts responses that no request waits for."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.opened_s = time.monotonic()
        self.surplus = 0
        self.closed = False
        self._channel = channel
        self._closing: asyncio.Future[None] | None = None

    @classmethod
    async def open(cls, host: str, port: int) -> RpcConnection:
        """Raises `OSError` when nobody listens there."""
        channel = grpc.aio.insecure_channel(f"{host}:{port}", options=_OPTIONS)
        while (state := channel.get_state(try_to_connect=True)) is not grpc.ChannelConnectivity.READY:
            if state in (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN):
                await channel.close()
                raise ConnectionRefusedError(f"no gRPC connection can be made to {host}:{port}")
            await channel.wait_for_state_change(state)
        return cls(channel)

    async def ask(self, request: RpcRequest) -> RpcReply:
        """Send a request and wait for its whole answer. Raises `Broken` when the connection ends before."""
        try:
            return await (self._parts(request.message) if request.streamed else self._whole(request.message))
        except grpc.aio.AioRpcError as error:
            if not _said_by_gateway(error):
                self.close()
                raise Broken(f"{error.code().name}: {error.details()}") from error
            return RpcReply(_HTTP.get(error.code(), 500), body=(error.details() or "").encode())
        except asyncio.InvalidStateError as error:  # the call was over before the request was sent
            self.close()
            raise Broken(str(error)) from error

    def close(self) -> None:
        """Leave, also in the middle of an answer."""
        if not self.closed:
            self.closed, self._closing = True, asyncio.ensure_future(self._channel.close())

    async def _whole(self, request: Message) -> RpcReply:
        call = self._channel.unary_unary(*_method("ModelInfer", "ModelInferResponse"))
        return RpcReply(200, parts=[(True, _read(await call(request)))])

    async def _parts(self, request: Message) -> RpcReply:
        """Everything that comes until the stream ends, which this side does after the final part, or an error."""
        reply = RpcReply(200)
        call = self._channel.stream_stream(*_method("ModelStreamInfer", "ModelStreamInferResponse"))()
        try:
            await call.write(request)
            while (response := await call.read()) is not grpc.aio.EOF:
                told = _read(response.infer_response)
                if reply.error:
                    self.surplus += 1
                reply.error = reply.error or response.error_message
                final = bool(told.parameters.get(FINAL))
                reply.parts += [] if response.error_message else [(final, told)]
                if response.error_message or final:
                    await call.done_writing()
        finally:
            call.cancel()
        return reply


def _method(name: str, gives: str) -> tuple[str, Any, Any]:
    return f"/{SERVICE}/{name}", message("ModelInferRequest").SerializeToString, message(gives).FromString


def _said_by_gateway(error: grpc.aio.AioRpcError) -> bool:
    """Whether the gateway has answered so, and not gRPC for it: where it is to be tried again the gateway says when."""
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return any(name == "retry-after" for name, _ in error.trailing_metadata() or ())
    return error.code() not in _BROKEN and _RESET not in (error.details() or "")


def _read(response: Message) -> InferResponse:
    outputs = {
        each.name: decode_raw(raw, each.datatype, list(each.shape), f"output {each.name!r}")
        for each, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    }
    parameters = {
        name: getattr(each, each.WhichOneof("parameter_choice")) for name, each in response.parameters.items()
    }
    return InferResponse(response.model_name, outputs, response.id, response.model_version, parameters)


def _tensor(name: str, array: Array, raw: bool) -> dict[str, Any]:
    found = {"name": name, "datatype": datatype_of(array.dtype), "shape": array.shape}
    return found if raw else {**found, "contents": {_CONTENTS[array.dtype.kind]: array.ravel().tolist()}}


_CONTENTS = {"f": "fp32_contents", "u": "uint_contents", "i": "int_contents", "b": "bool_contents"}
"""Where the numbers of a kind of type go; none of the models takes wider ones."""
