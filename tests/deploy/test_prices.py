from __future__ import annotations

import itertools
from pathlib import Path

import msgspec
import pytest

from synfire.base.errors import TemporaryError
from synfire.deploy import prices as module
from synfire.deploy.prices import Load, load_of, measure_prices, prices, prices_of, trials_of
from synfire.plan import Hop, predict

MADE_UP = Hop(
    frame_s=3e-4, work_s=8e-5, byte_s=2e-9, local_s=6e-5, local_byte_s=2e-10, request_s=7e-4, request_byte_s=4e-9
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SYNFIRE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_prices_are_those_that_would_have_predicted_the_trials() -> None:
    trials = trials_of(*(known(load_of(width)) for width in (64, 8192)))
    times = {}
    for name, each in trials.items():
        plan, costs = each.planned.plan, msgspec.structs.replace(each.load.costs, hop=MADE_UP)
        groups, workers = [stage.operators for stage in plan.stages], [stage.worker for stage in plan.stages]
        times[name] = predict(each.load.graph, groups, workers, costs, plan.frame_steps).latency_s
    found = prices_of(times, trials)
    for name, price in msgspec.structs.asdict(found).items():
        assert price == pytest.approx(getattr(MADE_UP, name), rel=0.05), name


def known(load: Load) -> Load:
    """With made-up times instead of measured ones, so that nothing depends on the machine."""
    operator_s = dict.fromkeys(load.graph.order(), 4e-6)
    return Load(load.graph, load.inputs, msgspec.structs.replace(load.costs, operator_s=operator_s, call_s=2e-5))


def test_prices_are_measured_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = itertools.chain([MADE_UP, Hop(frame_s=1.0)])
    monkeypatch.setattr(module, "measure_prices", lambda: next(found))
    assert [prices(), prices(), prices(again=True), prices()] == [MADE_UP, MADE_UP, Hop(frame_s=1.0), Hop(frame_s=1.0)]


def test_damaged_prices_are_measured_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "measure_prices", lambda: MADE_UP)
    prices()
    (file,) = (cache / "costs").iterdir()
    file.write_text("{")
    assert prices() == MADE_UP


def test_defaults_stand_in_where_nothing_can_be_served(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> Hop:
        raise TemporaryError("no worker can be started", 1.0)

    monkeypatch.setattr(module, "measure_prices", fail)
    assert prices() == Hop()
    assert not cache.exists()


@pytest.mark.slow
def test_prices_of_this_machine_are_more_than_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNFIRE_HOME", str(tmp_path))
    found = measure_prices(rounds=5)
    assert 0.05e-3 < found.request_s < 1.0
    assert found.frame_s > 0
