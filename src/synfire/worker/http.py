"""A worker's own door: each hosted stage, and each operator in it, by the Open Inference Protocol v2 over REST.

A stage is asked as `MODEL.STAGE`, an operator as `MODEL.OPERATOR`. A call is one stateless request: as at the gateway the
batch is the first axis, so its signals on the step clock are `(batch, steps, *shape)`; the answer holds all steps. It runs in the worker's compute thread, in turn
with everything else, but its outputs return here instead of going on along the plan.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import synfire
from synfire.base.errors import (
    DeadlineExceeded,
    Overloaded,
    PermanentError,
    SynfireError,
    TemporaryError,
    Unauthenticated,
    UnknownName,
    UserError,
)
from synfire.base.keys import HEADER, SCHEME, Keys
from synfire.ops import Array, Signal
from synfire.plan.plan import GATEWAY, stage_graph
from synfire.wire import oip
from synfire.wire.messages import Arrival, Failure, Frame, Host, Hosted, error_of
from synfire.wire.stream import Packet
from synfire.worker.stage import Stage
from synfire.worker.worker import Worker

_STATUS: tuple[tuple[type[SynfireError], int], ...] = (
    (Unauthenticated, 401),
    (UnknownName, 404),
    (UserError, 400),
    (Overloaded, 429),
    (TemporaryError, 503),
    (DeadlineExceeded, 504),
    (PermanentError, 500),
    (SynfireError, 500),
)
_ORIGIN = "http"
Answer = Callable[[Request], Awaitable[Response]]
_CLOSE_S = 5.0


class Door:
    """Answers HTTP in a thread of its own, for one worker."""

    def __init__(self, worker: Worker, listener: socket.socket) -> None:
        host, port = listener.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._listener = listener
        self._calls = StageCalls(worker)
        config = uvicorn.Config(_application(worker, self._calls), log_config=None, lifespan="off", access_log=False)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name="http", daemon=True)

    @classmethod
    def open(cls, worker: Worker, where: str) -> Door:
        """Listen at `where`, `host:port`, and answer. Raises `UserError` when that address cannot be had."""
        host, _, port = where.rpartition(":")
        try:
            listener = socket.create_server((host.strip("[]"), int(port)), family=_family(host))
        except (OSError, ValueError, OverflowError) as error:
            raise UserError(f"cannot answer HTTP at {where!r}: {error}; choose another host:port") from error
        door = cls(worker, listener)
        door._thread.start()
        return door

    def close(self) -> None:
        """Answer what was accepted, then stop to listen."""
        self._server.should_exit = True
        self._thread.join(_CLOSE_S)
        self._listener.close()

    def _serve(self) -> None:
        with asyncio.Runner() as runner:
            runner.run(self._server.serve(sockets=[self._listener]))


class StageCalls:
    """Hands calls from the HTTP thread to the worker's thread, and the answers back."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._ids = itertools.count(1)
        self._waiting: dict[str, tuple[asyncio.AbstractEventLoop, asyncio.Queue[Packet]]] = {}
        worker.local_origins[_ORIGIN] = self._answer

    async def stage(self, name: str) -> Stage:
        """The stage called `MODEL.STAGE`, or one made of the operator `MODEL.OPERATOR`. Raises `UnknownName`."""
        stages = list(self._worker.core.stages.values())
        for stage in stages:
            if name == stage.name:
                return stage
        for stage in stages:
            operator = name.removeprefix(f"{stage.host.model}.")
            if operator != name and operator in stage.graph.operators:
                return await self._operator(stage, operator)
        raise UnknownName.among(f"stage or operator on worker {self._worker.name}", name, self.names())

    def names(self) -> list[str]:
        """What can be asked for: `MODEL.STAGE` and `MODEL.OPERATOR`, in alphabetical order."""
        stages = [stage for stage in self._worker.core.stages.values() if "/" not in stage.host.stage]
        names = {stage.name for stage in stages}
        return sorted(names | {f"{stage.host.model}.{each}" for stage in stages for each in stage.graph.operators})

    async def infer(self, stage: Stage, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The stage's outputs for inputs of a fresh request, over all time steps."""
        request = f"{self._worker.name}-{_ORIGIN}-{next(self._ids)}"
        steps = next((inputs[name].shape[0] for name, s in stage.inputs.items() if s.timed and inputs[name].ndim), 0)
        frame = Frame(stage.host.model, GATEWAY, stage.host.stage, request, _ORIGIN, 0, 0, steps, alone=True)
        queue: asyncio.Queue[Packet] = asyncio.Queue()
        self._waiting[request] = asyncio.get_running_loop(), queue
        try:
            self._worker.post(lambda: self._worker.take_in(Packet(frame, inputs)))
            return await self._gather(stage, queue)
        except BaseException:
            self._worker.post(lambda: self._worker.core.cancel(request))
            raise
        finally:
            del self._waiting[request]

    async def _gather(self, stage: Stage, queue: asyncio.Queue[Packet]) -> dict[str, Array]:
        packets: list[Packet] = []
        last = False
        while not last:
            packet = await queue.get()
            if isinstance(packet.message, Failure):
                raise error_of(packet.message)
            packets.append(packet)
            last = isinstance(packet.message, Frame) and packet.message.last
        return {
            name: np.concatenate([each.arrays[name] for each in packets]) if signal.timed else packets[0].arrays[name]
            for name, signal in stage.outputs.items()
        }

    async def _operator(self, stage: Stage, operator: str) -> Stage:
        """A stage that is this operator alone, built when it is first asked for."""
        key = (stage.host.model, f"{stage.host.stage}/{operator}")
        if key not in self._worker.core.stages:
            graph = stage_graph(stage.graph, (operator,))
            arrivals = (Arrival(GATEWAY, tuple(graph.inputs)),)
            host = Host(*key, stage.host.engine, stage.host.frame_steps, arrivals, (), stage.host.steps)
            loop = asyncio.get_running_loop()
            built: asyncio.Future[Hosted] = loop.create_future()
            self._worker.build(host, graph, lambda hosted: _settle(loop, built, hosted))
            hosted = await built
            if hosted.kind:
                raise error_of(hosted)
        return self._worker.core.stages[key]

    def _answer(self, packet: Packet) -> None:
        message = packet.message
        if isinstance(message, (Frame, Failure)) and message.request in self._waiting:
            loop, queue = self._waiting[message.request]
            with contextlib.suppress(RuntimeError):  # the HTTP loop has closed: its client is gone
                loop.call_soon_threadsafe(queue.put_nowait, packet)


def _application(worker: Worker, calls: StageCalls) -> Starlette:
    keys = Keys.from_environment()

    async def live(request: Request) -> Response:
        return Response()

    async def ready(request: Request) -> Response:
        return Response(status_code=503 if worker.draining else 200)

    async def server(request: Request) -> Response:
        return JSONResponse(
            {
                "name": f"synfire-worker-{worker.name}",
                "version": synfire.__version__,
                "extensions": ["binary_tensor_data"],
            }
        )

    async def models(request: Request) -> Response:
        return JSONResponse({"models": calls.names()})

    async def model(request: Request) -> Response:
        stage = await calls.stage(request.path_params["name"])
        return JSONResponse(_metadata(request.path_params["name"], stage))

    async def model_ready(request: Request) -> Response:
        await calls.stage(request.path_params["name"])
        return Response()

    async def infer(request: Request) -> Response:
        if worker.draining:
            raise TemporaryError(f"worker {worker.name} is shutting down; call another one")
        name = request.path_params["name"]
        stage = await calls.stage(name)
        asked = oip.parse_infer_request(await _body(request, worker.settings.max_frame_bytes), _header_length(request))
        inputs = _turned(stage.inputs, _inputs(name, stage.inputs, asked.inputs))
        outputs = _turned(stage.outputs, await calls.infer(stage, inputs))
        wanted = [each.name for each in asked.outputs] or list(outputs)
        unknown = [each for each in wanted if each not in outputs]
        if unknown:
            raise UnknownName.among(f"output of {name}", unknown[0], outputs)
        answer = oip.InferResponse(name, {each: outputs[each] for each in wanted}, asked.id)
        return _encoded(answer, [each for each in wanted if asked.wants_binary(each)])

    def keyed(answer: Answer) -> Answer:
        async def checked(request: Request) -> Response:
            keys.check(request.headers.get(HEADER))
            return await answer(request)

        return checked

    routes = [
        Route("/v2", keyed(server)),
        Route("/v2/health/live", live),
        Route("/v2/health/ready", ready),
        Route("/v2/models", keyed(models)),
        Route("/v2/models/{name}", keyed(model)),
        Route("/v2/models/{name}/ready", keyed(model_ready)),
        Route("/v2/models/{name}/infer", keyed(infer), methods=["POST"]),
    ]
    return Starlette(routes=routes, exception_handlers={SynfireError: _on_error, HTTPException: _on_http_error})


def _inputs(name: str, signals: Mapping[str, Signal], given: Mapping[str, Array]) -> dict[str, Array]:
    """The tensors in the dtypes of the stage's signals. Raises `UserError` for a missing, unknown or mistyped one."""
    if set(given) != set(signals):
        raise UserError(f"{name} takes the inputs {sorted(signals)}, got {sorted(given)}")
    found = {}
    for each, array in given.items():
        wanted = signals[each].kind.dtype
        if array.dtype != wanted and not (array.dtype == np.bool_ and wanted == np.uint8):
            raise UserError(
                f"input {each!r} of {name} is {oip.datatype_of(array.dtype)}; it takes {oip.datatype_of(wanted)}"
            )
        _check_shape(f"input {each!r} of {name}", signals[each], array.shape)
        found[each] = array.astype(wanted, copy=False)
    return found


def _check_shape(where: str, signal: Signal, shape: tuple[int, ...]) -> None:
    """Raise `UserError` for another shape than the signal's, in the words of callers, whose batch comes first."""
    ahead = 2 if signal.timed else 1
    own = shape[ahead:]
    if len(own) != len(signal.shape) or any(n not in (-1, size) for n, size in zip(signal.shape, own, strict=True)):
        axes = ", ".join(str(n) if n >= 0 else "any" for n in signal.shape)
        takes = "batch, steps" if signal.timed else "batch"
        raise UserError(f"{where} has shape {list(shape)}; it takes [{', '.join(filter(None, (takes, axes)))}]")


def _turned(signals: Mapping[str, Signal], arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Those on the step clock with their first two axes exchanged: callers have the batch first, engines the steps."""
    return {
        name: np.ascontiguousarray(array.swapaxes(0, 1)) if signals[name].timed else array
        for name, array in arrays.items()
    }


def _metadata(name: str, stage: Stage) -> dict[str, Any]:
    def tensors(signals: Mapping[str, Signal]) -> list[dict[str, Any]]:
        return [
            {
                "name": each,
                "datatype": oip.datatype_of(signal.kind.dtype),
                "shape": [-1, -1, *signal.shape] if signal.timed else [-1, *signal.shape],
            }
            for each, signal in signals.items()
        ]

    return {
        "name": name,
        "versions": ["1"],
        "platform": f"synfire_{stage.host.engine}",
        "inputs": tensors(stage.inputs),
        "outputs": tensors(stage.outputs),
    }


def _encoded(answer: oip.InferResponse, binary: list[str]) -> Response:
    body, header_length = oip.build_infer_response(answer, binary)
    if header_length is None:
        return Response(body, media_type="application/json")
    headers = {oip.HEADER_LENGTH: str(header_length)}
    return Response(body, media_type="application/octet-stream", headers=headers)


async def _body(request: Request, limit_bytes: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit_bytes:
            raise UserError(f"the body is larger than the {limit_bytes} bytes allowed; send a smaller batch")
        parts.append(part)
    return b"".join(parts)


def _header_length(request: Request) -> int | None:
    text = request.headers.get(oip.HEADER_LENGTH)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit():
        raise UserError(f"{oip.HEADER_LENGTH} is {text!r}; it takes the length of the JSON in bytes")
    return int(text)


async def _on_error(request: Request, error: Exception) -> Response:
    status = next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
    headers = {"Retry-After": str(max(1, round(error.retry_after_s)))} if isinstance(error, TemporaryError) else {}
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = SCHEME
    return JSONResponse({"error": str(error)}, status, headers)


async def _on_http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return JSONResponse({"error": f"{request.method} {request.url.path}: {error}"}, status)


def _settle(loop: asyncio.AbstractEventLoop, future: asyncio.Future[Hosted], hosted: Hosted) -> None:
    loop.call_soon_threadsafe(lambda: None if future.done() else future.set_result(hosted))


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
