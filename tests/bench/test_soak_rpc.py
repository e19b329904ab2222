"""Callers of a soak who speak gRPC: what they tell of each answer, and of none."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import numpy as np
import pytest

from synfire.bench.soak.callers import Caller, Doors
from synfire.bench.soak.judgement import Exchange
from synfire.bench.soak.questions import Question, Repertoire
from synfire.gateway.oip import FINAL
from synfire.gateway.proto import SERVICE, message
from synfire.gateway.protocols.oip_grpc import read_request, write_response
from synfire.ops import Clock, Kind, Signal
from synfire.wire.oip import InferRequest, InferResponse

QUESTION = Question({"x": np.ones((1, 2), np.float32)}, {"y": np.arange(12, dtype=np.float32).reshape(4, 1, 3)})
REPERTOIRE = Repertoire("a-digits", {"y": Signal((3,), Kind.VALUE, Clock.RUNNING)}, [QUESTION], [])

Whole = Callable[[InferRequest, Any], Any]
Parts = Callable[[InferRequest, Any], AsyncIterator[Any]]


def whole(request: InferRequest, **changed: Any) -> Any:
    """The right answer to as many samples as were asked, or one with something changed."""
    question = REPERTOIRE.together([QUESTION] * len(request.inputs["x"]))
    assert request.inputs["x"].tobytes() == question.inputs["x"].tobytes()
    outputs = {**REPERTOIRE.whole(question), **changed}
    return write_response(InferResponse("a-digits", outputs, request.id))


def part(request: InferRequest, first: int, steps: int, id: str | None = None) -> Any:
    parameters = {"first_step": first, "steps": steps, FINAL: first + steps == 4}
    told = InferResponse(
        "a-digits", REPERTOIRE.part(QUESTION, first, steps), request.id if id is None else id, "", parameters
    )
    return message("ModelStreamInferResponse")(infer_response=write_response(told))


@asynccontextmanager
async def gateway(answer: Whole | None = None, stream: Parts | None = None) -> AsyncIterator[str]:
    """Answers as it is told to."""

    async def infer(request: Any, context: Any) -> Any:
        assert answer is not None
        return await answer(read_request(request), context)

    async def infer_stream(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        assert stream is not None
        async for request in requests:
            async for response in stream(read_request(request), context):
                yield response

    reads = message("ModelInferRequest").FromString
    handlers = {
        "ModelInfer": grpc.unary_unary_rpc_method_handler(
            infer, reads, message("ModelInferResponse").SerializeToString
        ),
        "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(
            infer_stream, reads, message("ModelStreamInferResponse").SerializeToString
        ),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def outcomes(kind: str, count: int = 3, **gateways: Any) -> list[Exchange]:
    """What a caller of the kind tells of its first requests."""

    async def ask() -> list[Exchange]:
        seen: list[Exchange] = []

        def tell(exchange: Exchange) -> None:
            seen.append(exchange)
            if len(seen) >= count:
                caller.leave()

        async with gateway(**gateways) as address:
            caller = Caller(kind, lambda: Doors("", address), {"a-digits": REPERTOIRE}, random.Random(1), tell)
            await caller.run(0.0)
        return seen

    return asyncio.run(ask())


def test_whole_answers_are_checked_bit_by_bit() -> None:
    async def right(request: InferRequest, context: Any) -> Any:
        return whole(request)

    async def wrong(request: InferRequest, context: Any) -> Any:
        return whole(request, y=np.zeros((len(request.inputs["x"]), 3), np.float32))

    async def anothers(request: InferRequest, context: Any) -> Any:
        return whole(InferRequest("r9", {}, request.inputs))

    assert [(each.outcome, each.text) for each in outcomes("grpc", 6, answer=right)] == [("right", "")] * 6
    found = outcomes("grpc", answer=wrong)
    assert {each.outcome for each in found} == {"wrong"}
    assert "output 'y' has the wrong bits" in found[0].text
    assert "answer to request 'r9'" in outcomes("grpc", answer=anothers)[0].text


@pytest.mark.parametrize(
    ("code", "trailing", "outcome", "status"),
    [
        (grpc.StatusCode.UNAVAILABLE, (("retry-after", "1"),), "refused", 503),
        (grpc.StatusCode.INVALID_ARGUMENT, (), "refused", 400),
        (grpc.StatusCode.NOT_FOUND, (), "refused", 404),
        (grpc.StatusCode.INTERNAL, (), "refused", 500),
        (grpc.StatusCode.UNAVAILABLE, (), "broken", 0),
    ],
)
def test_errors_are_told_and_are_not_mistaken_for_broken_connections(
    code: grpc.StatusCode, trailing: Any, outcome: str, status: int
) -> None:
    async def refusing(request: InferRequest, context: Any) -> Any:
        await context.abort(code, "a worker was lost", trailing)

    for each in outcomes("grpc", answer=refusing):
        assert (each.outcome, each.status) == (outcome, status)
        assert "a worker was lost" in each.text


STREAMS: list[tuple[list[tuple[int, int]], str]] = [
    ([(0, 3), (3, 1)], ""),
    ([(0, 2), (3, 1)], "begins with step 3"),
    ([(0, 3), (0, 4)], "begins with step 0"),
    ([(0, 4), (0, 4)], "after the final one"),
]


@pytest.mark.parametrize(("parts", "wrong"), STREAMS)
def test_streamed_answer_is_whole_once_and_right(parts: list[tuple[int, int]], wrong: str) -> None:
    async def answer(request: InferRequest, context: Any) -> AsyncIterator[Any]:
        for first, steps in parts:
            yield part(request, first, steps)

    for each in outcomes("grpc_stream", stream=answer):
        assert each.outcome == ("wrong" if wrong else "right")
        assert wrong in each.text


def test_a_stream_that_ends_early_or_in_an_error_is_told() -> None:
    async def refused(request: InferRequest, context: Any) -> AsyncIterator[Any]:
        yield part(request, 0, 3)
        yield message("ModelStreamInferResponse")(error_message="a worker was lost")

    async def unasked(request: InferRequest, context: Any) -> AsyncIterator[Any]:
        async for each in refused(request, context):
            yield each
        yield part(request, 3, 1)

    async def broken(request: InferRequest, context: Any) -> AsyncIterator[Any]:
        yield part(request, 0, 3)
        await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")

    found = outcomes("grpc_stream", stream=refused)
    assert {(each.outcome, each.text) for each in found} == {("refused", "a worker was lost")}
    found = outcomes("grpc_stream", count=1, stream=unasked)
    assert (found[0].outcome, found[0].text) == ("wrong", "1 answers that nobody asked for")
    assert {each.outcome for each in outcomes("grpc_stream", stream=broken)} == {"broken"}


def test_a_caller_tells_that_nobody_listens() -> None:
    async def ask() -> list[Exchange]:
        seen: list[Exchange] = []
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
        caller = Caller("grpc", lambda: Doors("", address), {"a-digits": REPERTOIRE}, random.Random(1), seen.append)
        await caller.grpc()
        return seen

    assert [each.outcome for each in asyncio.run(ask())] == ["unreached"]
