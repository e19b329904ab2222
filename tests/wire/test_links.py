"""Every link passes the conformance suite; sockets and HTTP tell what went wrong."""

from __future__ import annotations

import asyncio
import select
import socket
import threading
from dataclasses import dataclass, field

import numpy as np
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from synfire.base.errors import PermanentError, TemporaryError, UserError
from synfire.ops import Clock, Kind, Signal
from synfire.testing.links import check_link, check_size_limit, check_stream_link
from synfire.wire import oip
from synfire.wire.links import Limits, MemoryLink, SocketLink, connect, listen
from synfire.wire.links.http import HttpLink, HttpService
from synfire.wire.messages import Cancel, Failure, Frame
from synfire.wire.stream import Packet

SMALL = Limits(max_frame_bytes=1 << 23, queue_bytes=1 << 20)


@dataclass
class Pair:
    near: object
    far: object
    more: list = field(default_factory=list)

    def close(self):
        for each in (self.near, self.far, *self.more):
            each.close()


def memory():
    return Pair(*MemoryLink.pair("a", "b", SMALL))


def sockets(address):
    listener, found = listen(address)
    near = connect(found, "b", SMALL)
    listener.settimeout(5)
    far, _ = listener.accept()
    return Pair(near, SocketLink(far, "a", SMALL), [listener])


def test_memory_link_conforms():
    check_stream_link(memory)


def test_unix_link_conforms(tmp_path):
    names = iter(range(100))

    def make():
        return sockets(f"unix:{tmp_path}/{next(names)}.sock")

    check_stream_link(make)
    check_size_limit(make, SMALL.max_frame_bytes)


def test_what_is_sent_later_wakes_the_peer_once(tmp_path):
    pair = sockets(f"unix:{tmp_path}/s")
    for number in range(3):
        pair.near.send(Packet(Frame("m", "a", "b", "r", "gw", number)), later=True)
    assert pair.near.pending
    assert not select.select([pair.far], [], [], 0)[0]
    pair.near.flush()
    assert not pair.near.pending
    assert [each.message.number for each in pair.far.receive()] == [0, 1, 2]
    pair.close()


def test_links_that_would_not_take_gathered_frames_are_refused():
    assert Limits(max_frame_bytes=1 << 20).max_frame_bytes == 1 << 20
    with pytest.raises(UserError, match="it takes 1048576 or more"):
        Limits(max_frame_bytes=(1 << 20) - 1)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:0", "tcp://[::1]:0"])
def test_tcp_link_conforms(address):
    def make():
        return sockets(address)

    try:
        make().close()
    except UserError as error:
        pytest.skip(f"this machine has no such address: {error}")
    check_stream_link(make)
    check_size_limit(make, SMALL.max_frame_bytes)


def test_http_link_conforms(echo_service):
    signal = {kind: Signal((), kind, Clock.STEP) for kind in Kind}

    class AnyService(HttpService):
        """The suite sends signals of every kind and shape along one link."""

        def infer(self, arrays, steps):
            (array,) = arrays.values()
            kind = next(kind for kind in Kind if kind.dtype == array.dtype)
            exact = signal[kind].with_(shape=array.shape[2:])
            self._inputs, self._outputs = {"x": exact}, {"x": exact}
            return super().infer(arrays, steps)

    def make():
        link = HttpLink(AnyService(echo_service.url, {}, {}), in_flight=1)
        return Pair(link, link)

    check_link(make)


class EchoService:
    """A foreign server of the Open Inference Protocol: it knows nothing of synfire, and answers what it is sent."""

    def __init__(self):
        self.answer = None
        routes = [
            Route("/v2/models/echo", lambda _: JSONResponse(self.metadata)),
            Route("/v2/models/echo/infer", self.infer, methods=["POST"]),
        ]
        self.metadata = {"name": "echo", "inputs": [{"name": "INPUT0"}], "outputs": [{"name": "OUTPUT0"}]}
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/v2/models/echo"
        config = uvicorn.Config(Starlette(routes=routes), log_config=None, lifespan="off")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=lambda: asyncio.run(self.server.serve(sockets=[self.listener])))
        self.thread.start()

    async def infer(self, request):
        if self.answer is not None:
            return self.answer
        length = request.headers.get(oip.HEADER_LENGTH)
        asked = oip.parse_infer_request(await request.body(), int(length) if length else None)
        body, header = oip.build_infer_response(
            oip.InferResponse("echo", {"OUTPUT0": asked.inputs["INPUT0"]}), ["OUTPUT0"]
        )
        return Response(body, headers={oip.HEADER_LENGTH: str(header)})

    def close(self):
        self.server.should_exit = True
        self.thread.join()
        self.listener.close()


@pytest.fixture(scope="module")
def running_echo():
    service = EchoService()
    yield service
    service.close()


@pytest.fixture
def echo_service(running_echo):
    running_echo.answer = None
    return running_echo


def service_for(url, kind=Kind.VALUE, shape=(3,)):
    signal = Signal(shape, kind, Clock.STEP)
    return HttpService(url, {"x": signal}, {"y": signal})


def test_http_service_folds_time_into_the_batch(echo_service):
    array = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    assert service_for(echo_service.url).infer({"x": array}, 4)["y"].tolist() == array.tolist()


def test_http_service_that_knows_of_time_is_sent_the_batch_first(echo_service, monkeypatch):
    tensor = {"shape": [-1, -1, 3]}
    told = {"inputs": [{"name": "INPUT0", **tensor}], "outputs": [{"name": "OUTPUT0", **tensor}]}
    monkeypatch.setattr(echo_service, "metadata", told)
    seen = []
    monkeypatch.setattr(oip, "build_infer_request", _noting(seen, oip.build_infer_request))
    array = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    assert service_for(echo_service.url).infer({"x": array}, 4)["y"].tolist() == array.tolist()
    assert seen == [array.swapaxes(0, 1).tolist()]


def _noting(seen, build):
    def noted(tensors, *more):
        seen.extend(each.tolist() for each in tensors.values())
        return build(tensors, *more)

    return noted


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (Response("busy", 503), TemporaryError, "503: busy"),
        (JSONResponse({"error": "bad shape"}, 400), UserError, "bad shape"),
        (Response("crash", 500), PermanentError, "500: crash"),
        (Response("<html>"), PermanentError, "no inference"),
        (JSONResponse({"model_name": "e", "outputs": []}), PermanentError, "sent nothing"),
    ],
)
def test_http_service_tells_whose_fault_it_is(echo_service, answer, kind, words):
    echo_service.answer = answer
    with pytest.raises(kind, match=words):
        service_for(echo_service.url).infer({"x": np.ones((1, 1, 3), np.float32)}, 1)


def test_http_service_that_is_away_is_temporary():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(TemporaryError, match="try again when it is back"):
        service_for(f"http://127.0.0.1:{port}/v2/models/x").infer({"x": np.ones((1, 1, 3), np.float32)}, 1)


def test_http_answer_of_another_shape_is_refused(echo_service):
    service = HttpService(echo_service.url, {"x": Signal((3,))}, {"y": Signal((4,))})
    with pytest.raises(PermanentError, match="check the service"):
        service.infer({"x": np.ones((2, 1, 3), np.float32)}, 2)


def test_http_link_answers_a_failed_frame_and_goes_on(echo_service):
    link = HttpLink(service_for(echo_service.url))
    try:
        with pytest.raises(UserError, match="takes frames"):
            link.send(Packet(Cancel("r")))
        echo_service.answer = Response("busy", 503)
        frame = Frame("m", "a", "b", "r", "gw", 0, 0, 1)
        link.send(Packet(frame, {"x": np.ones((1, 1, 3), np.float32)}))
        got = []
        while not got:
            got = link.receive()
        assert isinstance(got[0].message, Failure)
        assert got[0].message.kind == "TemporaryError"
    finally:
        link.close()


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("unix:", "set SYNFIRE_HOME, or TMPDIR, to a shorter path"),
        ("unix:/" + "x" * 200, "set SYNFIRE_HOME, or TMPDIR, to a shorter path"),
        ("unix:/no/such/folder/s", "choose another address"),
        ("tcp://127.0.0.1", "write unix:/path or tcp://host:port"),
        ("tcp://127.0.0.1:99999", "write tcp://host:port"),
        ("ftp://x:1", "write unix:/path or tcp://host:port"),
    ],
)
def test_bad_address_is_refused_with_its_cure(address, words):
    with pytest.raises(UserError, match=words):
        listen(address)


def test_taken_port_is_told():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(UserError, match="choose another address"):
            listen(f"tcp://127.0.0.1:{port}")


def test_nobody_listening_is_temporary(tmp_path):
    with pytest.raises(TemporaryError, match="try again when it is back"):
        connect(f"unix:{tmp_path}/nobody.sock", "w0")


def test_refused_tcp_connection_is_told_at_the_latest_when_sending():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    def send_until_it_fails():
        link = connect(f"tcp://127.0.0.1:{port}", "w0")
        for _ in range(10_000):
            link.send(Packet(Cancel("r")))
            link.flush()

    with pytest.raises(TemporaryError, match="try again when it is back"):
        send_until_it_fails()
