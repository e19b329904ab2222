"""What gateways tell of workers is told of their Pods, as the API of custom metrics has it."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from synfire.testing.answering import answering
from synfire.testing.kubernetes import metrics
from synfire.testing.kubernetes.metrics import API, Metrics, by_worker, listed

TOLD = """\
# HELP synfire_worker_requests Requests that a worker holds.
# TYPE synfire_worker_requests gauge
synfire_worker_requests{worker="synfire-hosts-0"} 1.5
synfire_worker_requests{worker="worker-0"} 7.0
# HELP synfire_stage_busy_seconds_total What a stage did.
# TYPE synfire_stage_busy_seconds_total counter
synfire_stage_busy_seconds_total{model="a",stage="x",worker="synfire-hosts-0"} 2.0
synfire_stage_busy_seconds_total{model="a",stage="y",worker="synfire-hosts-0"} 1.0
# HELP synfire_ready Whether calls are accepted.
# TYPE synfire_ready gauge
synfire_ready 1.0
"""


def test_a_metric_of_workers_is_added_up_for_each() -> None:
    assert by_worker(TOLD, "synfire_worker_requests") == {"synfire-hosts-0": 1.5, "worker-0": 7.0}
    assert by_worker(TOLD, "synfire_stage_busy_seconds_total") == {"synfire-hosts-0": 3.0}


def test_what_is_of_no_worker_is_of_no_pod() -> None:
    assert by_worker(TOLD, "synfire_ready") == {}
    assert by_worker(TOLD, "unknown") == {}


def test_values_are_those_of_pods_to_a_thousandth() -> None:
    (item,) = listed("models", "queued", {"synfire-hosts-0": 0.0625})["items"]
    assert item["describedObject"] == {
        "kind": "Pod",
        "namespace": "models",
        "name": "synfire-hosts-0",
        "apiVersion": "/v1",
    }
    assert (item["metricName"], item["value"]) == ("queued", "62m")


async def _pods(request: Request) -> Response:
    chosen = {"pool=hosts": ["synfire-hosts-0", "synfire-hosts-1"]}[request.query_params["labelSelector"]]
    return JSONResponse({"items": [{"metadata": {"name": each}} for each in chosen]})


async def _service(_: Request) -> Response:
    return JSONResponse({"spec": {"clusterIP": "127.0.0.1"}})


async def _secret(_: Request) -> Response:
    return JSONResponse({"data": {"api-key": base64.b64encode(b"key").decode()}})


async def _metrics(request: Request) -> Response:
    return PlainTextResponse(TOLD, 200 if request.headers["authorization"] == "Bearer key" else 401)


ROUTES = [
    Route("/api/v1/namespaces/models/pods", _pods),
    Route("/api/v1/namespaces/models/services/synfire", _service),
    Route("/api/v1/namespaces/models/secrets/synfire-keys", _secret),
    Route("/metrics", _metrics),
]


async def asked(url: str, namespace: str) -> tuple[int, Any]:
    """What somebody is answered who asks for a metric of the Pods of a pool."""
    async with httpx.AsyncClient(base_url=url, trust_env=False) as caller:
        scope = {
            "type": "http",
            "query_string": b"labelSelector=pool%3Dhosts",
            "path_params": {"namespace": namespace, "pod": "*", "metric": "synfire_worker_requests"},
        }
        answer = await Metrics(caller).values(Request(scope))
        return answer.status_code, json.loads(bytes(answer.body))


def test_the_pods_that_are_asked_for_are_told_of_as_far_as_the_gateways_know_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with answering(Starlette(routes=ROUTES), "everybody") as url:
        monkeypatch.setattr(metrics, "GATEWAY", int(url.rpartition(":")[2]))
        code, found = asyncio.run(asked(url, "models"))
        assert (code, found["apiVersion"]) == (200, API)
        assert [(each["describedObject"]["name"], each["value"]) for each in found["items"]] == [
            ("synfire-hosts-0", "1500m")
        ]
        code, found = asyncio.run(asked(url, "elsewhere"))
        assert code == 503
        assert "synfire_worker_requests cannot be had" in found["error"]
