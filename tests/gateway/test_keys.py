"""Keys: every door asks for one but health, with the official clients' own ways to show it."""

from __future__ import annotations

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from synfire.base.errors import Unauthenticated
from synfire.base.keys import VARIABLE
from synfire.gateway.access import OPEN
from synfire.gateway.api import endpoints_of
from synfire.gateway.proto import SERVICE, message, methods
from synfire.graph import reference
from synfire.wire.client import Client

SHOWN = {"authorization": "Bearer secret-2"}
HEALTH = {"/v2/health/live", "/v2/health/ready", "/v1/health/live", "/v1/health/ready", "/health", "/"}
X = np.random.default_rng(5).random((2, 4), np.float32) * 2


def test_every_endpoint_but_health_asks_for_a_key(locked):
    endpoints = locked.call(lambda: endpoints_of(locked.plane))
    with httpx.Client(base_url=locked.addresses.url, timeout=20) as http:
        for each in endpoints:
            answer = http.request(each.method, each.path.replace("{model}", "snn").replace("{version}", "1"))
            if each.path in HEALTH:
                assert answer.status_code == 200
                continue
            assert answer.status_code == 401, each.path
            assert answer.headers["www-authenticate"].startswith("Bearer")
            if each.method == "HEAD":
                continue
            assert list(answer.json()) == ["error"], each.path
            assert "send the header 'Authorization: Bearer KEY'" in str(answer.json()["error"])


def test_a_key_opens_every_endpoint_that_reads(locked):
    with httpx.Client(base_url=locked.addresses.url, headers=SHOWN, timeout=20) as http:
        for path in ("/v2", "/v2/models", "/metrics", "/openapi.json", "/api/workers", "/v2/models/snn"):
            assert http.get(path).status_code == 200, path
        assert http.get("/v2", headers={"authorization": "Bearer wrong"}).status_code == 401


def test_a_body_without_a_key_is_not_read_and_the_connection_goes_on(locked):
    with httpx.Client(base_url=locked.addresses.url, timeout=20) as http:
        for _ in range(2):
            assert http.post("/v2/models/snn/infer", content=bytes(2**20)).status_code == 401
        assert http.get("/v2", headers=SHOWN).status_code == 200


def test_triton_http_client_shows_its_key(locked, routes):
    tensor = triton_http.InferInput("x", X.shape, "FP32").set_data_from_numpy(X)
    with triton_http.InferenceServerClient(locked.host_port) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        with pytest.raises(InferenceServerException, match="no key was sent"):
            client.infer("snn", [tensor])
        answer = client.infer("snn", [tensor], headers={**SHOWN})
    np.testing.assert_array_equal(answer.as_numpy("rate"), reference.run(routes.spiking_graph(), {"x": X})["rate"])


def test_triton_grpc_client_shows_its_key(locked, routes):
    tensor = triton_grpc.InferInput("x", X.shape, "FP32").set_data_from_numpy(X)
    with triton_grpc.InferenceServerClient(locked.addresses.grpc) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        with pytest.raises(InferenceServerException, match="not a key of") as refused:
            client.infer("snn", [tensor], headers={"authorization": "Bearer wrong"})
        answer = client.infer("snn", [tensor], headers={**SHOWN})
    assert refused.value.status() == "StatusCode.UNAUTHENTICATED"
    np.testing.assert_array_equal(answer.as_numpy("rate"), reference.run(routes.spiking_graph(), {"x": X})["rate"])


@pytest.mark.parametrize("method", methods(), ids=lambda method: method.name)
def test_every_grpc_method_but_health_asks_for_a_key(locked, method):
    path = f"/{SERVICE}/{method.name}"
    takes, gives = message(method.input_type.name), message(method.output_type.name)
    with grpc.insecure_channel(locked.addresses.grpc) as channel:
        if method.server_streaming:
            answers = channel.stream_stream(path, takes.SerializeToString, gives.FromString)(
                iter([takes()]), timeout=20
            )
            call = lambda: next(answers)  # noqa: E731
        else:
            ask = channel.unary_unary(path, takes.SerializeToString, gives.FromString)
            call = lambda: ask(takes(), timeout=20)  # noqa: E731
        if path in OPEN:
            assert call()
            return
        with pytest.raises(grpc.RpcError) as refused:
            call()
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert "metadata 'authorization'" in refused.value.details()


def test_our_client_takes_its_key_from_the_environment(locked, routes, monkeypatch):
    with Client(locked.addresses.url) as client, pytest.raises(Unauthenticated, match="takes KEY from SYNFIRE_API_KEY"):
        client.inputs("snn")
    monkeypatch.setenv(VARIABLE, "secret-2,another")
    with Client(locked.addresses.url) as client:
        rate = client.infer("snn", {"x": X}).outputs["rate"]
    np.testing.assert_array_equal(rate, reference.run(routes.spiking_graph(), {"x": X})["rate"])


def test_the_document_tells_how_to_show_a_key(locked):
    document = httpx.get(f"{locked.addresses.url}/openapi.json", headers=SHOWN).json()
    ((name, scheme),) = document["components"]["securitySchemes"].items()
    assert scheme == {"type": "http", "scheme": "bearer"}
    assert {name: []} in document["security"]
    for path, operations in document["paths"].items():
        for operation in operations.values():
            healthy = path in HEALTH
            assert ("401" in operation["responses"], operation.get("security")) == (
                not healthy,
                [] if healthy else None,
            )
