"""The listeners: ports, limits while reading, truncation, drain, and callers that disturb nobody."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from synfire.base.errors import Interrupted, UserError
from synfire.gateway.addresses import listen
from synfire.gateway.limits import Limits
from synfire.graph import reference

SMALL = Limits(body_bytes=4096, body_timeout_s=0.2)


def raw(port: int, data: bytes, close: bool = False) -> tuple[int, dict[str, str], bytes]:
    """Send bytes, return status, headers and body of what comes back; an empty answer has status 0."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(data)
        if close:
            connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as stream:
            first = stream.readline()
            if not first:
                return 0, {}, b""
            headers = {}
            while line := stream.readline().strip():
                name, _, value = line.decode().partition(": ")
                headers[name.lower()] = value
            return int(first.split()[1]), headers, stream.read(int(headers["content-length"]))


def post(length: int | str, body: bytes = b"", extra: str = "") -> bytes:
    return f"POST /v2/models/echo/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{extra}\r\n".encode() + body


def test_a_taken_port_is_named_with_the_way_out(gateway):
    with pytest.raises(
        UserError, match=rf"port {gateway.port} on 127.0.0.1 is taken .* choose another with --port, or"
    ):
        listen("127.0.0.1", gateway.port)
    grpc_port = int(gateway.addresses.grpc.rpartition(":")[2])
    with pytest.raises(UserError, match=r"is taken .* --grpc-port 0 for any free one"):
        listen("127.0.0.1", grpc_port, "--grpc-port")


def test_a_port_cannot_be_had_twice():
    with listen("127.0.0.1", 0) as first, pytest.raises(UserError, match="is taken by another process"):
        listen("127.0.0.1", first.getsockname()[1], "--grpc-port")


def test_a_host_that_is_not_ours_is_refused():
    with pytest.raises(UserError, match="name an address of this machine"):
        listen("203.0.113.1", 0)
    with pytest.raises(UserError, match="name an address of this machine"):
        listen("no such host", 0)


def test_an_oversize_body_is_refused_before_it_is_read(serving, routes):
    with serving({"echo": routes.echo()}, SMALL) as here:
        status, headers, body = raw(here.port, post(10**12))
        assert (status, headers["connection"]) == (413, "close")
        assert "the limit body_bytes" in json.loads(body)["error"]
        chunk = b"400\r\n" + b"x" * 1024 + b"\r\n"
        chunked = post(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        assert raw(here.port, chunked + chunk * 5)[0] == 413
        assert httpx.get(f"{here.addresses.url}/v2/health/live").status_code == 200


def test_a_body_that_does_not_end_is_given_up(serving, routes):
    with serving({"echo": routes.echo()}, SMALL) as here:
        status, _, body = raw(here.port, post(100, b"x" * 50))
        assert status == 408
        assert "check Content-Length against what was sent" in json.loads(body)["error"]


def test_a_caller_who_leaves_in_the_middle_disturbs_nobody(serving, routes):
    with serving({"echo": routes.echo()}) as here:
        assert raw(here.port, post(100, b"x" * 50), close=True)[0] == 0
        assert httpx.get(f"{here.addresses.url}/v2/health/ready").status_code == 200
        assert here.plane.model("echo").gate.accepted == 0


def test_a_caller_who_leaves_while_it_waits_cancels_its_call(serving, routes):
    route = routes.gated()
    with serving({"m": route}) as here:
        with socket.create_connection(("127.0.0.1", here.port), timeout=20) as caller:
            caller.sendall(whole("1.1"))
            here.do(route.someone.wait()).result(20)
        here.do(here.plane.drain()).result(20)
        assert len(route.cancelled) == 1
        assert here.plane.model("m").statistics.outcomes["cancelled"] == 1


def whole(version: str) -> bytes:
    x = {"name": "x", "shape": [1, 3, 32, 32], "datatype": "UINT8", "data": [0] * 3072}
    body = json.dumps({"inputs": [x]}).encode()
    return post(len(body), body).replace(b"echo", b"m", 1).replace(b"HTTP/1.1", f"HTTP/{version}".encode(), 1)


def test_a_caller_who_has_stopped_to_send_gets_its_answer_at_once(serving, routes):
    with serving({"m": routes.echo()}) as here:
        status, _, body = raw(here.port, whole("1.1"), close=True)
        assert status == 200
        assert json.loads(body)["outputs"][0]["name"] == "y"


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_a_caller_who_has_stopped_to_send_may_wait_for_its_answer(serving, routes, version):
    route = routes.gated()
    with serving({"m": route}) as here, socket.create_connection(("127.0.0.1", here.port), timeout=20) as connection:
        connection.sendall(whole(version))
        connection.shutdown(socket.SHUT_WR)
        here.do(route.someone.wait()).result(20)
        with connection.makefile("rb") as stream:
            if version == "1.1":  # it is asked whether it is still there
                assert (stream.readline(), stream.readline()) == (b"HTTP/1.1 100 Continue\r\n", b"\r\n")
            here.call(route.go.set)
            told = stream.read().replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
        assert told.startswith(b"HTTP/1.1 200 OK\r\n")
        assert here.plane.model("m").statistics.outcomes["cancelled"] == 0


def test_a_model_whose_worker_is_gone_is_not_ready(serving, routes):
    class Lost(routes.echo):
        ready = False
        failure = Interrupted("worker w0 is gone, and nothing replaces it; start the deployment again")

    with serving({"m": Lost(), "n": routes.echo()}) as here, httpx.Client(base_url=here.addresses.url) as http:
        assert http.get("/v2/health/live").status_code == 200
        assert http.get("/v2/models/n/ready").status_code == 200
        for path in ("/v2/models/m/ready", "/v2/health/ready"):
            answer = http.get(path)
            assert (answer.status_code, answer.json()["ready"]) == (503, False)
            assert answer.json()["error"].endswith("start the deployment again")
        with triton.InferenceServerClient(here.addresses.grpc) as client:
            assert (client.is_model_ready("m"), client.is_model_ready("n"), client.is_server_ready()) == (0, 1, 0)
        states = {each["name"]: each["state"] for each in http.post("/v2/repository/index").json()}
        assert states == {"m": "UNAVAILABLE", "n": "READY"}


@pytest.mark.parametrize(
    "data",
    [
        post("abc"),
        post("-5"),
        b"nonsense\r\n\r\n",
        b"GET /v2 HTTP/9.9\r\n\r\n",
        post(0, extra="X: " + "y" * 70_000 + "\r\n"),
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_http_gets_an_error_body_too(gateway, data):
    status, headers, body = raw(gateway.port, data)
    assert (status, headers["content-type"]) == (400, "application/json")
    assert "Check the request line" in json.loads(body)["error"]


def test_draining_over_http_and_grpc_loses_no_accepted_request(serving, routes):
    route, x = routes.gated(), np.ones((1, 3, 32, 32), np.float32)
    body = {"inputs": [{"name": "x", "shape": list(x.shape), "datatype": "FP32", "data": x.ravel().tolist()}]}
    with (
        serving({"m": route}, Limits(in_flight=2)) as here,
        ThreadPoolExecutor(9) as callers,
        triton.InferenceServerClient(here.addresses.grpc) as client,
        httpx.Client(base_url=here.addresses.url, timeout=20) as http,
    ):
        tensor = triton.InferInput("x", x.shape, "FP32").set_data_from_numpy(x)
        accepted = [callers.submit(http.post, "/v2/models/m/infer", json=body) for _ in range(6)]
        accepted_grpc = [callers.submit(client.infer, "m", [tensor]) for _ in range(3)]
        here.do(until(lambda: here.plane.model("m").gate.accepted == 9)).result(20)
        draining = here.do(here.server.stop())
        here.do(until(lambda: here.plane.draining)).result(20)
        ready = http.get("/v2/health/ready")
        refused = http.post("/v2/models/m/infer", json=body)
        with pytest.raises(InferenceServerException, match="shutting down"):
            client.infer("m", [tensor])
        here.call(route.go.set)
        assert [each.result(20).status_code for each in accepted] == [200] * 6
        assert all((each.result(20).as_numpy("y") == x).all() for each in accepted_grpc)
        draining.result(20)
    assert (ready.status_code, ready.json()["ready"]) == (503, False)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert ready.headers["connection"] == refused.headers["connection"] == "close"
    assert all(each.result().headers["connection"] == "close" for each in accepted)


async def until(holds):
    import asyncio

    while not holds():
        await asyncio.sleep(0.001)


def test_overload_is_told_as_429_with_retry_after(serving, routes):
    route, limits = routes.gated(), Limits(in_flight=1, queued=0, retry_after_s=2.5)
    x = {"name": "x", "shape": [1, 3, 32, 32], "datatype": "UINT8", "data": [0] * 3072}
    with serving({"m": route}, limits) as here, ThreadPoolExecutor(1) as callers:
        url = f"{here.addresses.url}/v2/models/m/infer"
        first = callers.submit(httpx.post, url, json={"inputs": [x]})
        here.do(route.someone.wait()).result(20)
        refused = httpx.post(url, json={"inputs": [x]})
        here.call(route.go.set)
        assert first.result(20).status_code == 200
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "3")


def test_good_and_bad_requests_side_by_side_do_not_disturb_each_other(gateway, routes):
    rng, graph = np.random.default_rng(11), routes.spiking_graph()
    samples = rng.random((48, 1, 4), np.float32) * 2
    url = f"{gateway.addresses.url}/v2/models/snn/infer"

    def ask(i: int) -> None:
        x = samples[i]
        tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": x.ravel().tolist()}
        wrong = [
            {**tensor, "name": "y"},
            {**tensor, "shape": [4]},
            {**tensor, "data": "no"},
            {**tensor, "datatype": ""},
        ]
        if i % 3 == 1:
            answer = http.post(url, json={"inputs": [wrong[i % 4]]})
            assert (answer.status_code, list(answer.json())) == (400, ["error"])
        elif i % 3 == 2:
            assert raw(gateway.port, post(500, b"{" * i), close=True)[0] == 0
        else:
            answer = http.post(url, json={"inputs": [tensor], "outputs": [{"name": "spikes"}], "id": str(i)}).json()
            expected = reference.run(graph, {"x": x})["spikes"].swapaxes(0, 1)
            assert (answer["id"], answer["outputs"][0]["data"]) == (str(i), expected.ravel().tolist())

    with httpx.Client(timeout=20) as http, ThreadPoolExecutor(8) as callers:
        list(callers.map(ask, range(len(samples))))


SERVE = """
import sys
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.echo import EchoRoute
from synfire.gateway.server import serve
plane = DataPlane()
plane.add("echo", EchoRoute())
serve(plane, "127.0.0.1", 0, 0, lambda where: print(where.url, where.grpc, flush=True))
"""


@pytest.mark.slow
def test_sigterm_ends_the_process_in_order():
    with subprocess.Popen([sys.executable, "-c", SERVE], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url, _ = process.stdout.readline().split()
        assert httpx.get(f"{url}/v2/models/echo/ready").status_code == 200
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(20) == 0
