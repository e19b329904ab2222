"""docs/protocols.md says what the code does."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import httpx
import msgspec
import numpy as np

from synfire.gateway.api import endpoints_of
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.limits import Limits
from synfire.gateway.oip import REQUEST_PARAMETERS
from synfire.gateway.proto import methods
from synfire.gateway.status import OK, REASONS
from synfire.graph import reference

PAGE = Path(__file__).parents[2].joinpath("docs/protocols.md").read_text()


def section(title: str) -> str:
    return PAGE.split(f"# {title}\n")[1].split("\n## ")[0]


def rows(title: str) -> list[list[str]]:
    found = [line for line in section(title).splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in found]


def test_the_request_of_the_page_is_answered(serving, routes):
    graph = routes.spiking_graph()
    body = json.loads(section("Ask a model").split("<<'JSON'\n")[1].split("\nJSON\n")[0])
    with serving({"net": routes.reference(graph)}) as here:
        answer = httpx.post(f"{here.addresses.url}/v2/models/net/infer", json=body).json()
    (x,), (rate,) = body["inputs"], answer["outputs"]
    expected = reference.run(graph, {"x": np.array([x["data"]], np.float32)})["rate"]
    assert (answer["id"], rate["name"], rate["data"]) == ("mine", "rate", expected.ravel().tolist())


def test_the_file_of_the_page_is_read(gateway):
    (tensor,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    events = {"name": "events", "shape": [1, 1, 4], "datatype": "INT64", "data": [0] * 4}
    body = {"inputs": [json.loads(tensor), events], "outputs": [{"name": "image", "parameters": {"binary_data": True}}]}
    answer = httpx.post(f"{gateway.addresses.url}/v2/models/file/infer", json=body)
    assert answer.content.endswith(base64.b64decode("iVBORw0KGgo="))


def test_every_endpoint_stands_on_the_page():
    told = {
        (method, path)
        for methods_, paths, _ in rows("Endpoints")
        for method in methods_.split(", ")
        for path in re.findall("`(.*?)`", paths)
    }
    served = {(each.method, each.path.replace("/versions/{version}", "")) for each in endpoints_of(DataPlane())}
    assert told == served


def test_every_method_limit_parameter_and_status_stands_on_the_page():
    for method in methods():
        assert re.search(rf"\b{method.name}\b", section("Endpoints"))
    assert {(name.strip("`"), float(default)) for name, default, _ in rows("Limits")} == {
        (name, float(value)) for name, value in msgspec.structs.asdict(Limits()).items()
    }
    assert {name.strip("`") for name, _ in rows("Request parameters")} == set(REQUEST_PARAMETERS)
    assert {int(status): text for status, _, text in rows("Errors")} == {k: v for k, v in REASONS.items() if k != OK}
