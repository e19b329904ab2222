"""Recoveries are told over REST and in metrics."""

from __future__ import annotations

from types import MappingProxyType

import httpx
import pytest

from synfire.wire.condition import Condition
from synfire.wire.recovery import Cause, RecoveryRecord, Step, Substituted, Touched

DEGRADED = Condition("degraded", "snn.a runs on cpu", (Substituted("snn", "a", "darwin3", "cpu", 0.985),))


class Told:
    spares_wanted = 2
    spares = 1
    counts = MappingProxyType({("exit", "recovered"): 3})
    conditions = MappingProxyType({"snn": DEGRADED})

    def recent(self, count):
        step = Step("detect", 1000.0, 0.01)
        records = [
            RecoveryRecord(
                id=f"run-{n}",
                cause=Cause("exit", "w1"),
                models=(Touched("snn", n, n + 1),),
                worker="w1",
                steps=(step,),
                outcome="recovered",
            )
            for n in range(30)
        ]
        return records[-count:]


@pytest.fixture
def http(gateway):
    with httpx.Client(base_url=gateway.addresses.url, timeout=20) as found:
        yield found


@pytest.fixture
def told(gateway):
    gateway.plane.recoveries = Told()
    yield
    gateway.plane.recoveries = None


def test_events_are_the_newest_records(http, told):
    assert [each["id"] for each in http.get("/api/events").json()] == [f"run-{n}" for n in range(10, 30)]
    (newest,) = http.get("/api/events/1").json()
    assert newest["cause"] == {"kind": "exit", "target": "w1", "detail": ""}
    assert newest["models"] == [{"model": "snn", "epoch_before": 29, "epoch_after": 30}]


@pytest.mark.parametrize("last", ["0", "1001", "99999999999999999999", "-1", "x", "٣"])
def test_a_wrong_number_is_refused_in_words(http, told, last):
    answer = http.get(f"/api/events/{last}")
    assert answer.status_code == 400
    assert "from 1 to 1000" in answer.json()["error"]


def test_a_gateway_without_a_deployment_has_no_events(http):
    assert http.get("/api/events").json() == []


def test_metrics_count_recoveries_and_spares(http, told):
    text = http.get("/metrics").text
    assert 'synfire_recoveries_total{cause="exit",outcome="recovered"} 3.0' in text
    assert "synfire_spares 1.0" in text
    assert "synfire_spares_wanted 2.0" in text
    assert "synfire_replays_total" in text


def test_a_degraded_model_says_so_wherever_its_state_is_asked_for(http, told):
    (model,) = [each for each in http.get("/api/models").json() if each["model"] == "snn"]
    assert (model["status"], model["reason"], model["ready"]) == ("degraded", "snn.a runs on cpu", True)
    assert model["substituted"][0]["agreement"] == 0.985
    ready = http.get("/v2/models/snn/ready")
    assert (ready.status_code, ready.json()["degraded"]) == (200, "snn.a runs on cpu")
    assert http.get("/v2/health/ready").json() == {"ready": True, "degraded": "snn.a runs on cpu"}
    index = {each["name"]: each for each in http.post("/v2/repository/index", json={}).json()}
    assert (index["snn"]["state"], index["snn"]["reason"]) == ("READY", "snn.a runs on cpu")
    assert index["echo"]["reason"] == ""
    lines = http.get("/metrics").text.splitlines()
    assert 'synfire_model_substituted_stages{model="snn",version="1"} 1.0' in lines
    assert 'synfire_model_ready{model="snn",version="1"} 1.0' in lines


def test_a_model_that_is_served_as_planned_has_no_reason(http, told):
    (model,) = [each for each in http.get("/api/models").json() if each["model"] == "echo"]
    assert (model["status"], model["reason"], model["substituted"]) == ("served", "", [])
    assert http.get("/v2/models/echo/ready").json() == {"ready": True, "name": "echo"}
