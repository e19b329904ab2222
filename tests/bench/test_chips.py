"""The chips arm of the recovery benchmark: what each way does, what it counts, and that a wrong bit is seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from synfire.bench import BENCHMARKS, Settings, figure
from synfire.bench.arms import ARMS, Conditions, Outcome, chips_ways
from synfire.bench.arms.chips import Fault, repair
from synfire.bench.arms.chips_costs import ASSUMED, Assumptions, Repaired
from synfire.bench.arms.chips_networks import Stage, stages_of
from synfire.bench.arms.chips_report import speed_up
from synfire.bench.arms.chips_ways import WAYS, Cold, Hot, Recompile, Redeploy, Toolchain, Warm, Way
from synfire.bench.benchmark import report
from synfire.devices.darwin3.faults import Health
from synfire.devices.darwin3.linked import Linked, Relinked, Write
from synfire.devices.darwin3.relink import relink
from synfire.devices.darwin3.words import Coordinate, Memory

ALONE = Repaired(
    seconds={"compile": 3.0, "link": 1.0},
    resets=True,
    words=100,
    own_words=50,
    full_words=200,
    spike_steps=3,
    lost_steps=4,
    chip_steps=7,
    step_s=0.5,
    requests=3,
    lost=0,
    wrong=0,
)
"""A recovery in round numbers."""


@pytest.fixture(scope="module")
def stage() -> Stage:
    (found,) = stages_of("scnn-digits")
    return found


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    return ARMS["chips"].measure(Conditions(("scnn-digits", "srnn-digits"), seed=1, quick=True), lambda text: None)


def middle_core(stage: Stage) -> Coordinate:
    """A core that others send to, and that sends to others."""
    return stage.compiled.linked.places["classifier.2", 0]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_every_way_recovers_the_answers_bit_for_bit(way: type[Way], stage: Stage) -> None:
    for core in stage.compiled.linked.places.values():
        found = repair(way(), Fault(stage, core, request=5, after_steps=3))
        assert (found.requests, found.lost, found.wrong) == (3, 0, 0)
        assert all(seconds > 0 for seconds in found.seconds.values())


def test_ways_write_what_they_say(stage: Stage) -> None:
    fault = Fault(stage, middle_core(stage), request=0, after_steps=1)
    found = {way: repair(way(), fault) for way in WAYS}
    own, full = stage.compiled.linked.cores[fault.core].size, stage.compiled.linked.words
    assert found[Redeploy].words == full
    assert found[Toolchain].words >= full
    assert found[Recompile].words >= full
    assert own <= found[Warm].words == found[Cold].words <= 1.1 * own
    assert 0 < found[Hot].words <= 0.1 * own
    assert [way for way in WAYS if found[way].resets] == [Toolchain]
    assert found[Cold].seconds.keys() == {"compile", "link"}
    assert found[Warm].seconds.keys() == found[Hot].seconds.keys() == {"link"}


def spoilt(spoil: Callable[[Write], Write | None]) -> Callable[[Linked, Health], Relinked]:
    """A linker that does something to its first axon entry that names a core which moved."""

    def broken(linked: Linked, health: Health) -> Relinked:
        found = relink(linked, health)
        new = {core for _, core in found.moved.values()}
        first = next(i for i, each in enumerate(found.writes) if each.memory is Memory.AXON and each.core not in new)
        one = spoil(found.writes[first])
        return replace(found, writes=(*found.writes[:first], *([one] if one else []), *found.writes[first + 1 :]))

    return broken


@pytest.mark.parametrize(
    "spoil",
    [lambda write: None, lambda write: replace(write, words=write.words ^ np.uint64(1))],
    ids=["a stale axon entry", "one bit of an axon entry"],
)
@pytest.mark.parametrize("way", [Cold, Warm], ids=lambda way: way.name)
def test_a_linker_that_leaves_one_entry_wrong_is_caught(
    way: type[Way], spoil: Callable[[Write], Write | None], stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chips_ways, "relink", spoilt(spoil))
    assert repair(way(), Fault(stage, middle_core(stage), request=0, after_steps=3)).wrong == 2


def test_a_way_that_does_nothing_loses_the_requests(stage: Stage) -> None:
    class Nothing(Warm):
        def recover(self, stage: Stage, seat: object, health: Health) -> dict[str, float]:
            return {"link": 0.0}

    found = repair(Nothing(), Fault(stage, middle_core(stage), request=0, after_steps=3))
    assert found.lost + found.wrong == 2


def test_a_recovery_is_the_sum_of_its_steps_and_an_outage_of_what_the_client_waits() -> None:
    assumed = Assumptions(bandwidth_bytes_s=800, latency_s=0.25, reset_s=5.0)
    assert ALONE.steps(assumed) == {"compile": 3.0, "link": 1.0, "reset": 5.0, "transfer": 2.25, "spike": 1.5}
    assert ALONE.recovery_s(assumed) == 12.75
    assert ALONE.outage_s(assumed) == 12.75 + (4 + 7 - 3) * 0.5
    assert replace(ALONE, resets=False).recovery_s(assumed) == 7.75
    assert ALONE.recovery_s(replace(assumed, step_s=1.0)) == 14.25


def test_a_reset_costs_those_that_deploy_everything_and_nobody_else() -> None:
    rows = [
        {"arm": arm, "family": "a", "measured": [vars(replace(ALONE, resets=False, seconds={"link": link_s}))]}
        for arm, link_s in ((Redeploy.name, 2.0), (Hot.name, 1.0))
    ]
    assumed = replace(ASSUMED, latency_s=0.0, bandwidth_bytes_s=1600.0, reset_s=7.0, step_s=0.0)
    assert speed_up(rows, Hot.name, Redeploy.name, assumed, resets=False) == (2 + 1) / (1 + 1)
    assert speed_up(rows, Hot.name, Redeploy.name, assumed, resets=True) == (2 + 1 + 7) / (1 + 1)


def test_the_first_output_comes_when_the_last_layer_has_its_first_spikes(stage: Stage) -> None:
    latency = stage.compiled.network.latency
    assert stage.first_spike(0) == 1 + latency["head:readout"]
    assert stage.chip_steps == stage.steps + max(latency.values())


def test_a_quick_run_has_a_row_for_each_way_and_family(outcome: Outcome) -> None:
    rows = [row for row in outcome.rows if "measured" in row]
    assert [(row["arm"], row["family"]) for row in rows] == [
        (way.name, family) for family in ("scnn", "srnn") for way in WAYS
    ]
    assert all(row["lost"] == row["wrong"] == row["late"] == 0 and row["requests"] == 6 for row in rows)
    assert all(row["outage_p50_low_s"] <= row["outage_p50_s"] <= row["outage_max_s"] for row in rows)
    assert all(row["recovery_s"] < row["outage_max_s"] for row in rows)
    (total,) = (row for row in outcome.rows if (row["arm"], row["family"]) == (Hot.name, "worst family"))
    assert total["vs_recompile"] == min(row["vs_recompile"] for row in rows if row["arm"] == Hot.name)


def test_its_floors_are_those_of_the_issue(outcome: Outcome) -> None:
    floors = {each.name: (each.op, each.limit) for each in outcome.floors}
    assert floors == {
        "darwin3_lost": ("==", 0),
        "darwin3_wrong": ("==", 0),
        "darwin3_relink_overhead": ("<=", 1.1),
        "darwin3_vs_recompile": (">=", 20),
        "darwin3_vs_redeploy": (">=", 5),
    }  # bytes and the wide network are judged where there is one
    assert all(each.holds for each in outcome.floors[:3])


def test_the_same_seed_kills_the_same_cores(outcome: Outcome) -> None:
    again = ARMS["chips"].measure(Conditions(("scnn-digits",), seed=1, quick=True), lambda text: None)
    assert [counted(row) for row in again.rows if "measured" in row] == [
        counted(row) for row in outcome.rows if row["family"] == "scnn"
    ]


def counted(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What of a row's trials does not depend on the clock."""
    return [{key: value for key, value in each.items() if key != "seconds"} for each in row["measured"]]


def test_the_report_has_a_chapter_with_bars_and_sweeps(outcome: Outcome) -> None:
    details = {"arms": {"chips": ARMS["chips"].about}, **outcome.details}
    found = report("recovery", Settings(only=("chips",)), details, outcome.rows, outcome.floors)
    documents = BENCHMARKS["recovery"].documents(found)
    page = documents.pop("recovery.md")
    assert set(documents) == {
        "recovery-chips-scnn.svg", "recovery-chips-recompile.svg", "recovery-chips-redeploy.svg",
    }  # fmt: skip
    assert all(f"]({name})" in page for name in documents)
    assert all(f"- `{way.name}`: {way.about}" in page for way in WAYS)
    assert "**assumed**" in page
    assert "| 1 MB/s | 1 s | shortest |" in page
    assert "| `darwin3_relink_overhead` | <= 1.1 |" in page
    assert "'measured'" not in page
    for content in documents.values():
        ElementTree.fromstring(content)


def test_lines_end_where_their_last_points_are() -> None:
    svg = ElementTree.fromstring(figure.lines("a < b", "x", {"<&>": [(1.0, 10.0), (100.0, 1.0)]}))
    (curve,) = (each for each in svg.iter() if each.tag.endswith("polyline"))
    first, last = curve.attrib["points"].split()
    assert first == f"{figure.LEFT:.1f},{figure.TOP:.1f}"
    assert last == f"{figure.WIDTH - figure.RIGHT:.1f},{figure.TOP + figure.PLOT:.1f}"
