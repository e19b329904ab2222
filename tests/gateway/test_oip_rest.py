"""Open Inference Protocol over REST, with Triton's client and with plain HTTP."""

from __future__ import annotations

import base64
import gzip
from dataclasses import replace

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tritonclient.utils import InferenceServerException

from synfire.gateway import descriptions
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.local import LocalRoute
from synfire.graph import reference
from synfire.wire.oip import build_infer_request
from synfire.zoo import load

X = np.random.default_rng(5).random((2, 4), np.float32) * 2


@pytest.fixture
def client(gateway):
    with triton.InferenceServerClient(gateway.host_port) as found:
        yield found


@pytest.fixture
def http(gateway):
    with httpx.Client(base_url=gateway.addresses.url, timeout=20) as found:
        yield found


def tensor(name: str, array: np.ndarray, datatype: str = "FP32", binary: bool = True) -> triton.InferInput:
    found = triton.InferInput(name, array.shape, datatype)
    return found.set_data_from_numpy(array, binary_data=binary)


def infer(http: httpx.Client, model: str = "snn", **body) -> httpx.Response:
    default = {"inputs": [{"name": "x", "shape": list(X.shape), "datatype": "FP32", "data": X.tolist()}]}
    return http.post(f"/v2/models/{model}/infer", json={**default, **body})


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_triton_client_gets_the_reference_answer(client, routes, binary_in, binary_out):
    wanted = [triton.InferRequestedOutput(name, binary_data=binary_out) for name in ("rate", "spikes")]
    result = client.infer("snn", [tensor("x", X, binary=binary_in)], outputs=wanted, request_id="mine")
    expected = reference.run(routes.spiking_graph(), {"x": X})
    np.testing.assert_array_equal(result.as_numpy("rate"), expected["rate"])
    np.testing.assert_array_equal(result.as_numpy("spikes"), expected["spikes"].swapaxes(0, 1))
    assert result.get_response()["id"] == "mine"


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
def test_triton_client_may_compress(client, compression):
    x = np.ones((1, 3, 32, 32), np.float32)
    result = client.infer("echo", [tensor("x", x)], request_compression_algorithm=compression)
    np.testing.assert_array_equal(result.as_numpy("y"), x)


def test_triton_client_sees_health_metadata_and_repository(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("snn")
    assert client.is_model_ready("snn", "1")
    assert not client.is_model_ready("nobody")
    assert client.get_server_metadata()["name"] == "synfire"
    about = client.get_model_metadata("stream")
    assert about["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, -1, 4]}]
    assert about["outputs"][0] == {"name": "rate", "datatype": "FP32", "shape": [-1, 3]}
    assert client.get_model_config("snn")["max_batch_size"] == 256
    index = client.get_model_repository_index()
    assert {(each["name"], each["state"]) for each in index} >= {("snn", "READY"), ("echo", "READY")}


def test_metadata_say_what_a_request_holds_where_the_graph_does(serving, routes):
    graph = routes.spiking_graph()
    told = replace(graph, metadata={"input": "four values"})
    with serving({"said": routes.reference(told), "silent": routes.reference(graph)}) as here:
        said, silent = (httpx.get(f"{here.addresses.url}/v2/models/{name}").json() for name in ("said", "silent"))
    assert said["inputs"] == [{**silent["inputs"][0], "parameters": {"request": "four values"}}]
    assert "parameters" not in silent["inputs"][0]


def test_metadata_of_several_inputs_say_it_of_all_of_them_together():
    plane = DataPlane()
    route = LocalRoute(load("sgnn-cora"))
    about = descriptions.model_description(plane, plane.add("sgnn-cora", route))
    assert about.parameters["request"] == route.graph.metadata["input"]
    assert all(not each.parameters for each in about.inputs)
    route.close()


@pytest.mark.parametrize("path", ["infer", "infer_stream"])
def test_a_refused_request_names_its_model_and_its_own_id(gateway, path):
    url = f"{gateway.addresses.url}/v2/models/snn/{path}"
    body = {"inputs": [{"name": "x", "shape": [1, 5], "datatype": "FP32", "data": [0] * 5}]}
    text = "input 'x' has shape [1, 5]; it takes [batch, 4]"
    assert httpx.post(url, json=body).json() == {"error": f"model 'snn': {text}"}
    assert httpx.post(url, json={**body, "id": "mine"}).json() == {"error": f"request 'mine' to model 'snn': {text}"}
    unknown = httpx.post(url, json={**body, "id": "mine", "parameters": {"colour": 1}}).json()["error"]
    assert unknown.startswith("request 'mine' to model 'snn': request parameter 'colour'")
    assert httpx.post(url, content=b"{").json()["error"].startswith("model 'snn': the body is not")


def test_triton_client_reads_counters(client):
    def count() -> int:
        return client.get_inference_statistics("echo")["model_stats"][0]["inference_count"]

    before = count()
    client.infer("echo", [tensor("x", np.ones((3, 3, 32, 32), np.float32))])
    assert count() == before + 3


def test_loading_is_refused_with_the_way_that_works(client):
    for change in (client.load_model, client.unload_model):
        with pytest.raises(InferenceServerException, match=r"start another with `synfire serve NAME…`"):
            change("snn")


def test_settings_are_told_and_levels_are_set(client):
    assert client.get_trace_settings() == {"trace_level": ["OFF"]}
    with pytest.raises(InferenceServerException, match="see /metrics"):
        client.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"]})
    before = client.get_log_settings()
    try:
        assert client.update_log_settings({"log_info": True})["log_info"] is True
    finally:
        restored = client.update_log_settings(before)
    assert restored == before


def test_a_sequence_equals_the_whole_stream(client, routes):
    x = np.random.default_rng(6).random((1, 9, 4), np.float32) * 2
    whole = reference.run(routes.spiking_graph(encoded=False), {"x": x.swapaxes(0, 1)})
    for sequence in (7, "seven"):
        parts = []
        for i, part in enumerate(np.split(x, [3, 5], axis=1)):
            part = np.ascontiguousarray(part)
            told = {"sequence_id": sequence, "sequence_start": i == 0, "sequence_end": i == 2}
            parts.append(client.infer("stream", [tensor("x", part)], **told))
        spikes = np.concatenate([each.as_numpy("spikes") for each in parts], 1)
        np.testing.assert_array_equal(spikes, whole["spikes"].swapaxes(0, 1))
        np.testing.assert_array_equal(parts[-1].as_numpy("rate"), whole["rate"])


def test_a_sequence_without_start_is_refused(client):
    with pytest.raises(InferenceServerException, match="begin it with sequence_start=true"):
        client.infer("stream", [tensor("x", X[None])], sequence_id=99)


def test_a_file_arrives_whole_in_both_forms(client, http):
    image, events = bytes(range(256)), np.arange(8).reshape(1, 2, 4)
    inputs = [tensor("image", np.array([image], object), "BYTES"), tensor("events", events, "INT64")]
    assert client.infer("file", inputs).as_numpy("image").tolist() == [image]
    text = base64.b64encode(image).decode()
    body = {
        "inputs": [
            {
                "name": "image",
                "shape": [1],
                "datatype": "BYTES",
                "parameters": {"content_type": "base64"},
                "data": [text],
            },
            {"name": "events", "shape": [1, 2, 4], "datatype": "INT64", "data": events.ravel().tolist()},
        ],
        "outputs": [{"name": "image", "parameters": {"binary_data": True}}],
    }
    answer = http.post("/v2/models/file/infer", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.content.endswith(image)


def test_whole_numbers_are_taken_as_values(http):
    answer = infer(http, inputs=[{"name": "x", "shape": [1, 4], "datatype": "UINT8", "data": [0, 1, 2, 3]}])
    assert answer.status_code == 200, answer.text


def test_a_long_timeout_is_cut_to_the_limit(http):
    assert infer(http, parameters={"timeout": 10**400}).status_code in (200, 400)
    assert infer(http, parameters={"timeout": 2**63}).status_code == 200


def bad_bodies() -> dict[str, tuple[int, dict, str]]:
    good = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [0, 0, 0, 0]}

    def one(**changes) -> dict:
        return {"inputs": [{**good, **changes}]}

    return {
        "wrong name": (400, one(name="y"), "this model's inputs are ['x']"),
        "wrong shape": (400, one(shape=[1, 2, 2]), "it takes [batch, 4]"),
        "wrong count": (400, one(data=[0, 0, 0]), "takes 4 numbers"),
        "unknown datatype": (400, one(datatype="FP12"), "choose one of"),
        "inexact value": (400, one(datatype="FP64", data=[0.1] * 4), "which is no float32"),
        "overflow": (400, one(data=[1e300, 0, 0, 0]), "send finite numbers"),
        "not a number": (400, one(data=["a", 0, 0, 0]), "send plain numbers"),
        "null": (400, one(data=[None, 0, 0, 0]), "send plain numbers"),
        "no data": (400, {"inputs": [{k: v for k, v in good.items() if k != "data"}]}, "send one of them"),
        "empty batch": (400, one(shape=[0, 4], data=[]), "is empty"),
        "batch beyond the limit": (400, one(shape=[257, 4], data=[0] * 1028), "above the limit batch=256"),
        "negative shape": (400, one(shape=[-1, 4]), "no dimension is below 0"),
        "huge shape": (400, one(shape=[2**62, 4]), "that no tensor can have"),
        "shape beyond 64 bits": (400, one(shape=[2**80, 0], data=[]), "that no tensor can have"),
        "many dimensions": (400, one(shape=[1] * 80, data=[0]), "that no tensor can have"),
        "twice": (400, {"inputs": [good, good]}, "name each tensor once"),
        "no inputs": (400, {"inputs": []}, "has no inputs"),
        "no body": (400, {}, "missing required field `inputs`"),
        "unknown field": (400, {**one(), "colour": 1}, "unknown field `colour`"),
        "unknown parameter": (400, {**one(), "parameters": {"priority": 1}}, "has no effect here, so leave it out"),
        "wrong parameter": (400, {**one(), "parameters": {"sequence_start": 1}}, "it takes true or false"),
        "wrong sequence": (400, {**one(), "parameters": {"sequence_id": 1.5}}, "a whole number or a string"),
        "wrong timeout": (400, {**one(), "parameters": {"timeout": "1"}}, "a whole number"),
        "negative timeout": (400, {**one(), "parameters": {"timeout": -5}}, "must be above 0"),
        "unknown output": (400, {**one(), "outputs": [{"name": "z"}]}, "its outputs are ['rate', 'spikes']"),
        "classification": (
            501,
            {**one(), "outputs": [{"name": "rate", "parameters": {"classification": 3}}]},
            "take the plain tensor instead",
        ),
    }


@pytest.mark.parametrize("case", bad_bodies())
def test_a_bad_request_is_told_what_and_where(http, case):
    status, body, said = bad_bodies()[case]
    answer = http.post("/v2/models/snn/infer", json=body)
    assert (answer.status_code, list(answer.json())) == (status, ["error"]), answer.text
    assert said in answer.json()["error"]
    assert infer(http).status_code == 200


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff\xfe", b'{"inputs": ' + b"[" * 5000, b'{"inputs":[{"name":"x"}]}', b"NaN"]
)
def test_malformed_json_is_refused(http, content):
    answer = http.post("/v2/models/snn/infer", content=content)
    assert answer.status_code == 400
    assert "the body is not an Open Inference Protocol v2 message" in answer.json()["error"]


@pytest.mark.parametrize(
    ("length", "cut", "said"),
    [
        ("abc", 0, "it takes a whole number"),
        ("-1", 0, "it takes a whole number"),
        ("9" * 30, 0, "it takes a whole number"),
        ("99999", 0, "the body may have been cut off"),
        ("10", 0, "not an Open Inference Protocol v2 message"),
        (None, 1, "was the body cut off?"),
    ],
)
def test_a_binary_body_is_checked_to_the_byte(http, length, cut, said):
    body, right = build_infer_request({"x": X})
    headers = {"Inference-Header-Content-Length": length or str(right)}
    answer = http.post("/v2/models/snn/infer", content=body[: len(body) - cut], headers=headers)
    assert answer.status_code == 400
    assert said in answer.json()["error"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_body_is_the_callers_fault_and_no_one_elses(http, data):
    body, right = build_infer_request({"x": X})
    at = data.draw(st.integers(0, len(body)))
    cut = data.draw(st.integers(at, len(body)))
    damaged = body[:at] + data.draw(st.binary(max_size=8)) + body[cut:]
    length = data.draw(st.sampled_from([right, at, len(damaged), 0]))
    headers = {"Inference-Header-Content-Length": str(length)}
    answer = http.post("/v2/models/snn/infer", content=damaged, headers=headers)
    assert answer.status_code in (200, 400), answer.text
    assert answer.status_code == 200 or list(answer.json()) == ["error"]


def test_wrong_paths_and_methods_say_what_there_is(http):
    answer = http.get("/v2/models/nobody")
    assert (answer.status_code, answer.json()["error"][:36]) == (404, "there is no model named 'nobody'; kn")
    assert infer(http, "snn/versions/9").status_code == 404
    assert http.get("/nowhere").json()["error"].endswith("GET /openapi.json lists every path")
    answer = http.put("/v2/models/snn/infer")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.json()["error"].endswith("use POST")


def test_compressed_bodies_are_bounded_and_checked(gateway, http):
    bomb = gzip.compress(b"0" * (gateway.plane.limits.body_bytes + 1))
    answer = http.post("/v2/models/snn/infer", content=bomb, headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, "limit body_bytes" in answer.text) == (413, True)
    for content, said in ((b"no gzip", "is not valid gzip"), (gzip.compress(b"{}" * 99)[:-9], "ends too early")):
        answer = http.post("/v2/models/snn/infer", content=content, headers={"Content-Encoding": "gzip"})
        assert (answer.status_code, said in answer.json()["error"]) == (400, True)
    answer = http.post("/v2/models/snn/infer", content=b"", headers={"Content-Encoding": "rot13"})
    assert "use gzip, deflate, or none" in answer.json()["error"]


def test_a_deadline_is_told_as_504(serving, routes):
    with serving({"slow": routes.gated()}) as here, httpx.Client(base_url=here.addresses.url) as http:
        x = {"name": "x", "shape": [1, 3, 32, 32], "datatype": "FP32", "data": [0.5] * 3072}
        header = http.post("/v2/models/slow/infer", json={"inputs": [x]}, headers={"Synfire-Timeout-Ms": "20"})
        parameter = http.post("/v2/models/slow/infer", json={"inputs": [x], "parameters": {"timeout": 20_000}})
    for answer in (header, parameter):
        assert answer.status_code == 504
        assert answer.json()["error"].endswith("allow it more time, or send less")
