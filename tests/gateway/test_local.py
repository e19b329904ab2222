"""The whole way in one process: protocol, data plane, local route, compiled engine."""

from __future__ import annotations

from contextlib import closing

import httpx
import numpy as np
import tritonclient.http as triton

from synfire.gateway.echo import ECHO, echo_graph
from synfire.gateway.local import LocalRoute
from synfire.graph import reference


def test_the_echo_model_echoes_through_a_local_route(serving):
    x = np.random.default_rng(1).random((2, 3, 32, 32), np.float32)
    tensor = triton.InferInput("x", x.shape, "FP32").set_data_from_numpy(x)
    with (
        closing(LocalRoute(echo_graph())) as route,
        serving({ECHO: route}) as here,
        triton.InferenceServerClient(here.host_port) as client,
    ):
        np.testing.assert_array_equal(client.infer(ECHO, [tensor]).as_numpy("y"), x)


def test_sessions_and_streams_equal_the_reference(serving, routes):
    graph = routes.spiking_graph(encoded=False)
    x = np.random.default_rng(2).random((1, 12, 4), np.float32) * 2
    whole = reference.run(graph, {"x": x.swapaxes(0, 1)})
    with (
        closing(LocalRoute(graph)) as route,
        serving({"m": route}) as here,
        httpx.Client(base_url=here.addresses.url, timeout=60) as http,
    ):
        spikes = []
        for i, part in enumerate(np.split(x, 4, axis=1)):
            tensor = {"name": "x", "shape": list(part.shape), "datatype": "FP32", "data": part.ravel().tolist()}
            told = {"sequence_id": "a", "sequence_start": i == 0, "sequence_end": i == 3}
            answer = http.post("/v2/models/m/infer", json={"inputs": [tensor], "parameters": told}).json()
            outputs = {each["name"]: np.array(each["data"]).reshape(each["shape"]) for each in answer["outputs"]}
            spikes.append(outputs["spikes"])
    np.testing.assert_array_equal(np.concatenate(spikes, 1), whole["spikes"].swapaxes(0, 1))
    np.testing.assert_array_equal(outputs["rate"].astype(np.float32), whole["rate"])
