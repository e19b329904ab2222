"""A worker's own door: each hosted stage, and each operator in it, by the Open Inference Protocol v2 over REST.

A stage is asked as `MODEL.STAGE`, an operator as `MODEL.OPERATOR`. A call is one stateless request: as at the gateway the
batch is the first axis, so its signals on the step clock are `(batch, steps, *shape)`; the answer holds all steps. It runs
in the worker's compute thread, in turn with everything else, but its outputs return here instead of going on along the plan.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import synfire
from synfire.base.errors import SynfireError, TemporaryError, UnknownName, UserError
from synfire.base.keys import HEADER, Keys
from synfire.wire import oip
from synfire.wire.status import extra_headers, http_status, ready_status
from synfire.worker.calls import StageCalls
from synfire.worker.tensors import inputs_of, metadata, turned, with_batch, without_batch
from synfire.worker.worker import Worker

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


def _application(worker: Worker, calls: StageCalls) -> Starlette:
    keys = Keys.from_environment()

    async def live(request: Request) -> Response:
        return Response()

    async def ready(request: Request) -> Response:
        return Response(status_code=ready_status(worker.ready))

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
        return JSONResponse(metadata(request.path_params["name"], stage))

    async def model_ready(request: Request) -> Response:
        await calls.stage(request.path_params["name"])
        return Response()

    async def infer(request: Request) -> Response:
        if worker.draining:
            raise TemporaryError(f"worker {worker.name} is shutting down; call another one")
        name = request.path_params["name"]
        stage = await calls.stage(name)
        asked = oip.parse_infer_request(await _body(request, worker.settings.max_frame_bytes), _header_length(request))
        inputs = turned(stage.inputs, inputs_of(name, stage.inputs, with_batch(stage, asked.inputs)))
        outputs = without_batch(stage, turned(stage.outputs, await calls.infer(stage, inputs)))
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
    return JSONResponse({"error": str(error)}, http_status(error), extra_headers(error))


async def _on_http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else http_status(error)
    return JSONResponse({"error": f"{request.method} {request.url.path}: {error}"}, status)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
