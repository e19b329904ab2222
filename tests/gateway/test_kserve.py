"""kserve's own client, in a process of its own: its messages and tritonclient's cannot share one."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from synfire.graph import reference

PYTHON = os.environ.get("SYNFIRE_KSERVE_PYTHON", sys.executable)
"""An interpreter that has kserve; `make test` makes one."""

X = np.random.default_rng(12).random((2, 4), np.float32) * 2

CLIENT = """
import asyncio, json, sys
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig

url, grpc, values = sys.argv[1], sys.argv[2], np.array(json.loads(sys.argv[3]), np.float32)

def request(binary):
    tensor = InferInput("x", list(values.shape), "FP32")
    tensor.set_data_from_numpy(values, binary_data=binary)
    return InferRequest("snn", [tensor])

def rate(response):
    return next(each for each in response.outputs if each.name == "rate").as_numpy().tolist()

async def main():
    rest, other = InferenceRESTClient(RESTConfig(protocol="v2")), InferenceGRPCClient(grpc)
    health = [await rest.is_server_live(url), await rest.is_server_ready(url), await rest.is_model_ready(url, "snn")]
    health += [await other.is_server_live(), await other.is_server_ready(), await other.is_model_ready("snn")]
    rates = []
    for binary in (False, True):
        rates.append(rate(await rest.infer(url, request(binary), model_name="snn")))
        rates.append(rate(await other.infer(request(binary))))
    try:
        error = ""
        await rest.infer(url, InferRequest("snn", [InferInput("x", [1, 1], "FP32", [0.0])]), model_name="snn")
    except Exception as refused:
        error = str(refused)
    print(json.dumps({"health": health, "rates": rates, "error": error}))

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def told(gateway) -> dict:
    if subprocess.run([PYTHON, "-c", "import kserve"], capture_output=True, check=False).returncode:
        pytest.skip("kserve is not installed; set SYNFIRE_KSERVE_PYTHON to an interpreter that has it")
    command = [PYTHON, "-c", CLIENT, gateway.addresses.url, gateway.addresses.grpc, json.dumps(X.tolist())]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout.splitlines()[-1])


def test_kserve_sees_a_healthy_server(told):
    assert told["health"] == [True] * 6


def test_kserve_gets_the_reference_answer_over_rest_and_grpc(told, routes):
    expected = reference.run(routes.spiking_graph(), {"x": X})["rate"]
    for rate in told["rates"]:
        np.testing.assert_array_equal(np.array(rate, np.float32), expected)


def test_kserve_reads_our_errors(told):
    assert "it takes [batch, 4]" in told["error"]
