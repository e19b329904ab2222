"""Our own REST, and metrics."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import msgspec
import pytest

from synfire.base.errors import TemporaryError
from synfire.plan import Plan
from synfire.wire.messages import Description, LinkCount, StageCount


@pytest.fixture
def http(gateway):
    with httpx.Client(base_url=gateway.addresses.url, timeout=20) as found:
        yield found


def test_graphs_are_told_in_short_and_whole(http, routes):
    graph = routes.spiking_graph()
    short = {each["model"]: each for each in http.get("/api/graphs").json()}
    assert short["snn"]["operators"] == 4
    assert short["snn"]["parameter_bytes"] == sum(each.parameter_bytes for each in graph.operators.values())
    whole = http.get("/api/graphs/snn").json()
    assert whole["content_digest"] == graph.content_digest()
    assert [(each["name"], each["kind"], each["stage"]) for each in whole["operators"]] == [
        ("encode", "ConstantCurrent", "all"),
        ("fc", "Linear", "all"),
        ("lif", "LIF", "all"),
        ("rate", "MeanRate", "all"),
    ]
    assert whole["inputs"] == {"x": {"shape": [4], "kind": "value", "clock": "request"}}
    assert whole["steps"] == 6


def test_plans_workers_and_models_are_told(http, gateway):
    plan = gateway.plane.model("snn").route.plan
    assert msgspec.json.decode(http.get("/api/plans/snn").content, type=Plan) == plan
    assert [each["model"] for each in http.get("/api/plans").json()] == ["echo", "file", "reference", "reference"]
    (worker,) = http.get("/api/workers").json()
    assert worker["name"] == "here"
    assert worker["plans"] == {"snn": ["all"], "stream": ["all"], "file": ["all"]}
    assert worker["stages"] is None
    assert [each["model"] for each in http.get("/api/models").json()] == ["echo", "file", "snn", "stream"]
    assert http.get("/api/graphs/nobody").status_code == 404


def test_metrics_count_calls_by_outcome(http):
    def value(line: str) -> float:
        (found,) = [each for each in http.get("/metrics").text.splitlines() if each.startswith(line + " ")]
        return float(found.rpartition(" ")[2])

    refused = 'synfire_calls_total{model="snn",outcome="refused",version="1"}'
    answered = 'synfire_latency_seconds_count{model="snn",version="1"}'
    before = value(refused), value(answered)
    x = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [0, 1, 2, 3]}
    assert http.post("/v2/models/snn/infer", json={"inputs": [x]}).status_code == 200
    assert http.post("/v2/models/snn/infer", json={"inputs": [{**x, "name": "y"}]}).status_code == 400
    assert (value(refused), value(answered)) == (before[0] + 1, before[1] + 1)
    assert value('synfire_calls_running{model="snn",version="1"}') == 0
    assert value("synfire_ready") == 1


LINK = LinkCount("b", 5, 70, 900, 0.25)
STAGE = StageCount(
    "m", "a", 3, 12, 24, 0.5, 1, 4096, (LINK,), 0, LinkCount("gateway", 2, 60, 64, 0.125), 3, 12, 0, 9, 12, 5, 7
)
SAID = Description("w0", 42, 7, 2, 100, (STAGE,), "http://127.0.0.1:9")


def test_workers_tell_what_they_did(serving, routes):
    async def describe():
        return {"w0": SAID}

    with serving({"m": routes.echo()}) as here, httpx.Client(base_url=here.addresses.url) as http:
        here.plane.describe_workers = describe
        (worker,) = http.get("/api/workers").json()
        lines = http.get("/metrics").text.splitlines()
    assert (worker["ready"], worker["url"]) == (True, "http://127.0.0.1:9")
    assert (worker["pid"], worker["requests"], worker["sessions"]) == (42, 7, 2)
    assert worker["stages"][0]["links"] == [{"receiver": "b", "frames": 5, "encoded_bytes": 70, "array_bytes": 900}]
    assert worker["stages"][0]["checkpoints"] == {"count": 2, "bytes": 60, "seconds": 0.125}
    assert 'synfire_stage_checkpoints_total{model="m",stage="a",worker="w0"} 2.0' in lines
    assert 'synfire_stage_checkpoint_bytes_total{model="m",stage="a",worker="w0"} 60.0' in lines
    assert 'synfire_stage_checkpoint_seconds_total{model="m",stage="a",worker="w0"} 0.125' in lines
    assert 'synfire_link_send_seconds_total{model="m",receiver="b",stage="a",worker="w0"} 0.25' in lines
    assert 'synfire_link_encoded_bytes_total{model="m",receiver="b",stage="a",worker="w0"} 70.0' in lines
    assert 'synfire_stage_busy_seconds_total{model="m",stage="a",worker="w0"} 0.5' in lines
    assert 'synfire_stage_density{model="m",stage="a",worker="w0"} 0.25' in lines
    assert 'synfire_stage_frames_total{kernel="event",model="m",stage="a",worker="w0"} 5.0' in lines
    assert 'synfire_stage_frames_total{kernel="dense",model="m",stage="a",worker="w0"} 7.0' in lines
    assert 'synfire_stage_input_density{model="m",stage="a",worker="w0"} 0.75' in lines
    assert 'synfire_worker_buffered_bytes{worker="w0"} 100.0' in lines


def test_the_page_lists_every_metric(http):
    page = (Path(__file__).parents[2] / "docs" / "protocols.md").read_text().split("## Metrics")[1].split("\n## ")[0]
    given = {
        line.split()[2].removesuffix("_total") for line in http.get("/metrics").text.splitlines() if "# TYPE" in line
    }
    assert set(re.findall(r"`(synfire_\w+)`", page)) >= given
    assert "synfire_stage_checkpoint_seconds" in given


def test_a_worker_that_does_not_answer_hides_only_itself(serving, routes):
    async def describe():
        raise TemporaryError("worker w0 is gone")

    with serving({"m": routes.echo()}) as here, httpx.Client(base_url=here.addresses.url) as http:
        here.plane.describe_workers = describe
        assert http.get("/api/workers").json() == []
        assert "synfire_ready 1.0" in http.get("/metrics").text
