"""Open Inference Protocol over gRPC, with Triton's client and with our own messages."""

from __future__ import annotations

import queue

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

from synfire.base.errors import TemporaryError
from synfire.base.protobuf import compile_proto
from synfire.gateway.proto import SERVICE, message, methods
from synfire.gateway.proto.__main__ import SOURCE
from synfire.gateway.proto.messages import COMPILED
from synfire.graph import reference

X = np.random.default_rng(5).random((2, 4), np.float32) * 2


@pytest.fixture
def client(gateway):
    with triton.InferenceServerClient(gateway.addresses.grpc) as found:
        yield found


def tensor(name: str, array: np.ndarray, datatype: str = "FP32") -> triton.InferInput:
    return triton.InferInput(name, array.shape, datatype).set_data_from_numpy(array)


class Stream:
    """Triton's callback stream, as a queue."""

    def __init__(self, client: triton.InferenceServerClient) -> None:
        self._client = client
        self._answers: queue.Queue = queue.Queue()

    def __enter__(self) -> Stream:
        self._client.start_stream(lambda result, error: self._answers.put((result, error)))
        return self

    def __exit__(self, *args: object) -> None:
        self._client.stop_stream()

    def send(self, x: np.ndarray, model: str = "stream", **options) -> None:
        self._client.async_stream_infer(model, [tensor("x", x)], **options)

    def receive(self) -> triton.InferResult:
        result, error = self._answers.get(timeout=20)
        if error:
            raise error
        return result

    def receive_all(self) -> list[triton.InferResult]:
        found = [self.receive()]
        while not found[-1].get_response().parameters["triton_final_response"].bool_param:
            found.append(self.receive())
        return found


def test_our_messages_have_the_protocols_names_and_numbers():
    theirs = service_pb2.DESCRIPTOR
    for method in methods():
        other = theirs.services_by_name["GRPCInferenceService"].methods_by_name[method.name]
        assert (method.input_type.full_name, method.output_type.full_name) == (
            other.input_type.full_name,
            other.output_type.full_name,
        )
        for ours, official in ((method.input_type, other.input_type), (method.output_type, other.output_type)):
            assert_within(ours, official)


def assert_within(ours, official, seen=()):
    for field in ours.fields:
        other = official.fields_by_name[field.name]
        assert (field.number, field.type) == (other.number, other.type), field.full_name
        if field.message_type and field.message_type.full_name not in seen:
            assert_within(field.message_type, other.message_type, (*seen, field.message_type.full_name))


def test_the_checked_in_descriptor_is_that_of_the_proto_file(tmp_path):
    pytest.importorskip("grpc_tools", reason="grpcio-tools is not installed")
    assert compile_proto(SOURCE, tmp_path / "fresh") == 0
    assert (tmp_path / "fresh").read_bytes() == SOURCE.with_name(COMPILED).read_bytes()


def test_triton_client_gets_the_reference_answer(client, routes):
    result = client.infer("snn", [tensor("x", X)], request_id="mine")
    expected = reference.run(routes.spiking_graph(), {"x": X})
    np.testing.assert_array_equal(result.as_numpy("rate"), expected["rate"])
    np.testing.assert_array_equal(result.as_numpy("spikes"), expected["spikes"].swapaxes(0, 1))
    assert result.get_response().id == "mine"


def test_triton_client_sees_health_metadata_repository_and_counters(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("snn")
    assert client.get_server_metadata().name == "synfire"
    assert list(client.get_model_metadata("snn").inputs[0].shape) == [-1, 4]
    assert {each.name for each in client.get_model_repository_index().models} >= {"snn", "echo"}
    client.infer("snn", [tensor("x", X)])
    assert client.get_inference_statistics("snn").model_stats[0].inference_count >= 2
    assert len(client.get_inference_statistics().model_stats) == 4


def test_plain_contents_are_read_and_checked(gateway):
    with grpc.insecure_channel(gateway.addresses.grpc) as channel:
        takes, gives = message("ModelInferRequest"), message("ModelInferResponse")
        infer = channel.unary_unary(f"/{SERVICE}/ModelInfer", takes.SerializeToString, gives.FromString)

        def ask(datatype: str, shape: list[int], **contents):
            x = {"name": "x", "datatype": datatype, "shape": shape, "contents": contents}
            return infer(takes(model_name="snn", inputs=[x]), timeout=20)

        fp32 = ask("FP32", [1, 4], fp32_contents=[0, 1, 0, 1])
        assert fp32.raw_output_contents == ask("INT8", [1, 4], int_contents=[0, 1, 0, 1]).raw_output_contents
        for datatype, shape, contents, said in [
            ("FP32", [1, 4], {"fp32_contents": [1]}, "takes 4 values, but fp32_contents has 1"),
            ("INT8", [1, 4], {"int_contents": [999, 0, 0, 0]}, "does not fit into INT8"),
            ("FP16", [1, 4], {}, "FP16 travels raw only"),
            ("FP32", [-1, 4], {}, "takes -4 values"),
        ]:
            with pytest.raises(grpc.RpcError) as refused:
                ask(datatype, shape, **contents)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert said in refused.value.details()


def test_a_method_that_is_not_offered_is_refused_with_those_that_are(gateway):
    with grpc.insecure_channel(gateway.addresses.grpc) as channel:
        for call in (channel.unary_unary(f"/{SERVICE}/TraceSetting"), channel.unary_unary("/other.Service/Do")):
            with pytest.raises(grpc.RpcError) as refused:
                call(b"", timeout=20)
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
            if "TraceSetting" in refused.value.details():
                assert "has ServerLive, ServerReady" in refused.value.details()
            else:
                assert refused.value.details() == "Method not found!"


def test_a_refused_request_names_its_model_and_its_own_id(client):
    with pytest.raises(InferenceServerException, match=r"request 'mine' to model 'snn': input 'x' has shape"):
        client.infer("snn", [tensor("x", np.ones((1, 5), np.float32))], request_id="mine")


def test_bytes_that_are_no_message_are_the_callers_mistake(gateway):
    garbage = b"\xff\xff no protobuf"
    with grpc.insecure_channel(gateway.addresses.grpc) as channel:
        infer = channel.unary_unary(f"/{SERVICE}/ModelInfer")
        with pytest.raises(grpc.RpcError) as refused:
            infer(garbage, timeout=20)
        with pytest.raises(grpc.RpcError) as ended:
            list(channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")(iter([garbage]), timeout=20))
        live = channel.unary_unary(f"/{SERVICE}/ServerLive")
        assert message("ServerLiveResponse").FromString(live(b"", timeout=20)).live
    for each in (refused.value, ended.value):
        assert each.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert f"the {len(garbage)} bytes received are no inference.ModelInferRequest" in each.details()


@pytest.mark.parametrize(
    ("model", "x", "status", "said"),
    [
        ("nobody", X, "NOT_FOUND", "there is no model named 'nobody'"),
        ("snn", X[:, :3], "INVALID_ARGUMENT", "it takes [batch, 4]"),
        ("snn", np.full((1, 4), np.nan, np.float32), "INVALID_ARGUMENT", "send finite numbers"),
    ],
)
def test_a_bad_call_gets_its_status_and_text(client, model, x, status, said):
    with pytest.raises(InferenceServerException) as refused:
        client.infer(model, [tensor("x", np.ascontiguousarray(x))])
    assert refused.value.status() == f"StatusCode.{status}"
    assert said in refused.value.message()


def test_an_oversize_message_is_refused(serving, routes):
    from synfire.gateway.limits import Limits

    with (
        serving({"echo": routes.echo()}, Limits(body_bytes=10_000)) as here,
        triton.InferenceServerClient(here.addresses.grpc) as client,
    ):
        with pytest.raises(InferenceServerException, match="larger than max"):
            client.infer("echo", [tensor("x", np.ones((1, 3, 32, 32), np.float32))])
        assert client.is_server_live()


def test_loading_is_refused_with_the_way_that_works(client):
    with pytest.raises(InferenceServerException, match=r"start another with `synfire serve NAME…`"):
        client.load_model("snn")


def test_a_stream_answers_step_by_step(client, routes):
    x = np.random.default_rng(7).random((2, 5, 4), np.float32) * 2
    whole = reference.run(routes.spiking_graph(encoded=False), {"x": x.swapaxes(0, 1)})
    with Stream(client) as stream:
        stream.send(x, request_id="steps")
        parts = stream.receive_all()
        stream.send(x, parameters={"step_by_step": False})
        (once,) = stream.receive_all()
    assert [part.get_response().parameters["first_step"].int64_param for part in parts] == [0, 2, 4]
    assert {part.get_response().id for part in parts} == {"steps"}
    spikes = np.concatenate([part.as_numpy("spikes") for part in parts], 1)
    np.testing.assert_array_equal(spikes, whole["spikes"].swapaxes(0, 1))
    np.testing.assert_array_equal(once.as_numpy("spikes"), spikes)
    np.testing.assert_array_equal(once.as_numpy("rate"), parts[-1].as_numpy("rate"))


def test_an_error_in_a_stream_leaves_the_stream_open(client):
    with Stream(client) as stream:
        stream.send(np.zeros((1, 2, 3), np.float32))
        with pytest.raises(InferenceServerException, match=r"it takes \[batch, steps, 4\]"):
            stream.receive()
        stream.send(np.zeros((1, 2, 4), np.float32))
        assert stream.receive_all()


def test_sequences_interleave_in_one_stream(client, routes):
    rng = np.random.default_rng(8)
    streams = {name: rng.random((1, 6, 4), np.float32) * 2 for name in (1, "two")}
    got: dict[int | str, list[np.ndarray]] = {1: [], "two": []}
    with Stream(client) as stream:
        for i in range(3):
            for name, x in streams.items():
                part = np.ascontiguousarray(x[:, 2 * i : 2 * i + 2])
                stream.send(part, sequence_id=name, sequence_start=i == 0, sequence_end=i == 2)
                got[name] += [each.as_numpy("spikes") for each in stream.receive_all()]
    for name, x in streams.items():
        whole = reference.run(routes.spiking_graph(encoded=False), {"x": x.swapaxes(0, 1)})
        np.testing.assert_array_equal(np.concatenate(got[name], 1), whole["spikes"].swapaxes(0, 1))


def test_a_clients_deadline_and_a_lost_worker_have_their_statuses(serving, routes):
    slow, lost = routes.gated(), routes.gated(error=TemporaryError("a worker was lost; try again", 2))
    x = tensor("x", np.ones((1, 3, 32, 32), np.float32))
    with (
        serving({"slow": slow, "lost": lost}) as here,
        triton.InferenceServerClient(here.addresses.grpc) as client,
    ):
        with pytest.raises(InferenceServerException) as late:
            client.infer("slow", [x], client_timeout=0.1)
        here.call(lost.go.set)
        with pytest.raises(InferenceServerException, match="a worker was lost") as gone:
            client.infer("lost", [x])
    assert late.value.status() == "StatusCode.DEADLINE_EXCEEDED"
    assert gone.value.status() == "StatusCode.UNAVAILABLE"
