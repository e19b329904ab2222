"""Answers as they come, some time steps at a time, over server-sent events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable

from synfire.base.log import LOGGER
from synfire.gateway import oip
from synfire.gateway.api import APIS, Api
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.http import Endpoint, HttpRequest, HttpResponse, error_response
from synfire.gateway.protocols.oip_rest import InferBody, read_infer
from synfire.gateway.request import Answer, Request
from synfire.gateway.status import is_ours
from synfire.wire.oip import build_infer_response

EVENTS = "text/event-stream"


class Stream:
    """`POST …/infer_stream`: the body of `…/infer`, answered by events.

    Each event's data is an infer answer in JSON, with `first_step`, `steps` and `triton_final_response` among its
    parameters. Events are called `part`, the last one `final`; one called `error` ends the stream with `{"error": …}`.
    A request that fails before its first part is answered by an HTTP error, as `…/infer` would.
    """

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    def endpoints(self) -> Iterable[Endpoint]:
        for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            yield Endpoint(
                "POST",
                f"{path}/infer_stream",
                self.infer_stream,
                "Infer, step by step, as server-sent events",
                InferBody,
                EVENTS,
                (400, 404, 408, 413, 429, 503, 504),
                True,
            )

    async def infer_stream(self, request: HttpRequest) -> HttpResponse:
        naming = oip.Naming(request.path["model"])
        _, wanted = read_infer(request, naming)
        answers = self._plane.stream(wanted)
        with naming:
            first = await anext(answers)
        headers = [(b"cache-control", b"no-cache")]
        return HttpResponse(content_type=EVENTS, headers=headers, chunks=_events(wanted, first, answers))


async def _events(wanted: Request, first: Answer, rest: AsyncGenerator[Answer, None]) -> AsyncGenerator[bytes, None]:
    try:
        yield _part(first)
        with oip.Naming(wanted.model, wanted.id):
            async for answer in rest:
                yield _part(answer)
    except Exception as error:
        if is_ours(error):
            LOGGER.error("infer_stream failed", exc_info=error)
        yield _event("error", error_response(error).body)
    finally:
        await rest.aclose()


def _part(answer: Answer) -> bytes:
    body, _ = build_infer_response(oip.to_part(answer))
    return _event("final" if answer.last else "part", body)


def _event(name: str, data: bytes) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), data)


APIS.add("stream", Api(endpoints=lambda plane: Stream(plane).endpoints()))
