"""Server-sent events, step by step."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import ExitStack

import grpc
import httpx
import numpy as np
import pytest

from synfire.base.errors import TemporaryError
from synfire.gateway.call import Part
from synfire.gateway.echo import EchoRoute
from synfire.gateway.limits import Limits
from synfire.gateway.proto import SERVICE, message
from synfire.graph import reference
from synfire.wire.oip import HEADER_LENGTH, build_infer_request


def body(x: np.ndarray, **more) -> dict:
    return {"inputs": [{"name": "x", "shape": list(x.shape), "datatype": "FP32", "data": x.ravel().tolist()}], **more}


def events(text: str) -> list[tuple[str, dict]]:
    found = []
    for block in text.strip().split("\n\n"):
        name, data = block.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


@pytest.fixture
def http(gateway):
    with httpx.Client(base_url=gateway.addresses.url, timeout=20) as found:
        yield found


def output(event: dict, name: str) -> np.ndarray:
    (found,) = [each for each in event["outputs"] if each["name"] == name]
    return np.array(found["data"]).reshape(found["shape"])


def test_each_block_of_steps_is_an_event_and_the_last_is_final(http, routes):
    x = np.random.default_rng(9).random((1, 4), np.float32) * 2
    answer = http.post("/v2/models/snn/infer_stream", json=body(x))
    assert answer.headers["content-type"] == "text/event-stream"
    found, whole = events(answer.text), reference.run(routes.spiking_graph(), {"x": x})
    assert [name for name, _ in found] == ["part", "part", "final"]
    assert [event["parameters"]["first_step"] for _, event in found] == [0, 2, 4]
    spikes = np.concatenate([output(event, "spikes") for _, event in found], 1)
    np.testing.assert_array_equal(spikes, whole["spikes"].swapaxes(0, 1))
    np.testing.assert_array_equal(output(found[-1][1], "rate").astype(np.float32), whole["rate"])


@pytest.mark.parametrize("size", [0, -1, "x"])
def test_a_part_holds_a_step_at_least(http, size):
    answer = http.post("/v2/models/snn/infer_stream", json=body(np.zeros((1, 4)), parameters={"part_steps": size}))
    assert answer.status_code == 400
    assert "part_steps" in answer.json()["error"]


def test_a_request_at_fault_is_refused_as_infer_would(http):
    answer = http.post("/v2/models/snn/infer_stream", json=body(np.zeros((1, 5))))
    assert (answer.status_code, answer.json()) == (
        400,
        {"error": "model 'snn': input 'x' has shape [1, 5]; it takes [batch, 4]"},
    )


def test_an_error_after_the_first_part_is_an_event(serving, routes):
    class Breaking(routes.echo):
        async def answer(self, call):
            yield Part({"y": call.inputs["x"]}, steps=1)
            raise TemporaryError("a worker was lost; try again")

    with serving({"m": Breaking()}) as here:
        answer = httpx.post(f"{here.addresses.url}/v2/models/m/infer_stream", json=body(np.zeros((1, 3, 32, 32))))
    found = events(answer.text)
    assert [name for name, _ in found] == ["part", "error"]
    assert found[-1][1] == {"error": "a worker was lost; try again"}


class Flood(EchoRoute):
    """Answers without end."""

    async def answer(self, call):
        while True:
            yield Part({"y": call.inputs["x"]}, steps=1)
            await asyncio.sleep(0)


async def until(holds):
    while not holds():
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_caller_who_does_not_read_is_cut_off(serving, protocol):
    x = np.random.default_rng(1).random((8, 3, 32, 32), np.float32)
    with serving({"m": Flood()}, Limits(body_timeout_s=0.3)) as here:
        gate = here.plane.model("m").gate
        with ExitStack() as stack:
            if protocol == "http":
                caller = stack.enter_context(socket.create_connection(("127.0.0.1", here.port)))
                content, length = build_infer_request({"x": x})
                head = f"POST /v2/models/m/infer_stream HTTP/1.1\r\nHost: x\r\n{HEADER_LENGTH}: {length}\r\n"
                caller.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
            else:
                channel = stack.enter_context(grpc.insecure_channel(here.addresses.grpc))
                takes, gives = message("ModelInferRequest"), message("ModelStreamInferResponse")
                ask = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer", takes.SerializeToString, gives.FromString)
                tensor = {"name": "x", "datatype": "FP32", "shape": x.shape}
                answers = ask(iter([takes(model_name="m", inputs=[tensor], raw_input_contents=[x.tobytes()])]))
                assert next(answers).infer_response.model_name == "m"
            here.do(until(lambda: gate.accepted == 1)).result(20)
            here.do(until(lambda: gate.accepted == 0)).result(20)
        assert here.plane.model("m").statistics.outcomes["cancelled"] == 1


def test_a_caller_who_leaves_cancels_the_call(serving, routes):
    route = routes.gated()

    class Begun(routes.echo):
        async def answer(self, call):
            yield Part({"y": call.inputs["x"]}, steps=1)
            async for part in route.answer(call):
                yield part

    with serving({"m": Begun()}) as here:
        url = f"{here.addresses.url}/v2/models/m/infer_stream"
        with httpx.stream("POST", url, json=body(np.zeros((1, 3, 32, 32)))) as answer:
            next(answer.iter_lines())
            here.do(route.someone.wait()).result(20)
        here.do(here.plane.drain()).result(20)
        assert len(route.cancelled) == 1
