from __future__ import annotations

import pytest

from synfire.bench import Settings, routing
from synfire.bench.routing import LENGTHS, LOAD, REPLICAS, STEP_S, Routing, arrivals


def test_requests_fill_so_much_of_all_replicas_and_are_the_same_for_each_choice() -> None:
    wanted = arrivals(1, 200.0)
    assert wanted == arrivals(1, 200.0)
    assert sum(steps for _, steps in wanted) * STEP_S / 200.0 / REPLICAS == pytest.approx(LOAD, rel=0.05)
    assert {steps for _, steps in wanted} == set(LENGTHS)


def test_every_choice_answers_all_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "arrivals", lambda seed, seconds: arrivals(seed, 0.1))
    found = Routing().measure(Settings(quick=True), lambda text: None)
    ways = ["round robin", "fewest calls", "least work"]
    assert [(row["of"], row["choice"]) for row in found.rows] == [
        (of, way) for of in ("model", "stage") for way in ways
    ]
    assert {row["calls"] for row in found.rows} == {len(arrivals(0, 0.1))}
    assert found.floors == ()


def test_the_floor_is_of_least_work_by_round_robin() -> None:
    rows = [
        {"of": "model", "choice": "round robin", "p99_s": 2.0},
        {"of": "model", "choice": "least work", "p99_s": 1.0},
        {"of": "stage", "choice": "least work", "p99_s": 9.0},
    ]
    (floor,) = routing.floors(rows)
    assert (floor.name, floor.value, floor.holds) == ("routing_p99_ratio", 0.5, True)
