"""What a build measures, and that it measures it once."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from nets import WIDTH, chain

from synfire.base.errors import UserError
from synfire.engines.profiles import build as building
from synfire.engines.profiles.build import build, known
from synfire.engines.profiles.machine import Machine
from synfire.engines.profiles.offers import offers
from synfire.engines.profiles.profile import Profile
from synfire.engines.profiles.samples import own_samples
from synfire.engines.profiles.whole import Whole, parts_of
from synfire.engines.samples import Samples, Source
from synfire.engines.version import engines_version
from synfire.graph import Graph, Synapse
from synfire.graph.passes import simplify
from synfire.ops import Array, Kind, Signal
from synfire.ops.lif import LIF
from synfire.plan import assumed
from synfire.zoo import load


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SYNFIRE_CACHE", str(tmp_path))
    monkeypatch.setattr(building, "ENOUGH_S", 0.0)
    return tmp_path / "profiles"


def profile(graph: Graph, name: str = "cpu-float32") -> Profile:
    machine = Machine(workers=2, cores=2, free_bytes=10**10)
    found = offers("net", graph, assumed(graph), machine)
    return next(each.profile for each in found if each.profile.name == name)


def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The batches that are computed from now on."""
    found: list[int] = []
    run = Whole.run

    def counted(self, inputs, batch, steps):  # type: ignore[no-untyped-def]
        found.append(batch)
        return run(self, inputs, batch, steps)

    monkeypatch.setattr(Whole, "run", counted)
    return found


def test_a_build_measures_one_sample_and_sixteen(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, ran = chain(), runs(monkeypatch)
    found = build(graph, profile(graph), own_samples(graph))
    assert set(found.seconds) == {1, 16} == set(ran)
    assert found.seconds[1] > 0
    assert found.likeness is None


def test_the_second_build_measures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, ran = chain(), runs(monkeypatch)
    first = build(graph, profile(graph), own_samples(graph))
    ran.clear()
    assert build(graph, profile(graph), own_samples(graph)) == first == known(profile(graph), own_samples(graph))
    assert ran == []


def test_another_version_of_the_engines_measures_again(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = chain()
    build(graph, profile(graph), own_samples(graph))
    monkeypatch.setattr(building, "engines_version", lambda: "another")
    assert known(profile(graph), own_samples(graph)) is None


def test_other_weights_are_another_profile() -> None:
    build(chain(), profile(chain()), own_samples(chain()))
    assert known(profile(chain(seed=1)), own_samples(chain(seed=1))) is None


def test_a_damaged_record_is_a_warning_and_measured_again(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    graph = chain()
    build(graph, profile(graph), own_samples(graph))
    (file,) = cache.iterdir()
    file.write_bytes(file.read_bytes()[:-9])
    ran = runs(monkeypatch)
    logger = logging.getLogger("synfire")
    monkeypatch.setattr(logger, "propagate", True)
    with caplog.at_level(logging.WARNING, "synfire"):
        found = build(graph, profile(graph), own_samples(graph))
    assert "cannot be read" in caplog.text
    assert "measuring again" in caplog.text
    assert ran
    assert known(profile(graph), own_samples(graph)) == found


def test_a_record_of_another_profile_under_the_name_of_this_one_is_not_believed(cache: Path) -> None:
    graph = chain()
    build(graph, profile(graph), own_samples(graph))
    (file,) = cache.iterdir()
    file.write_bytes(file.read_bytes().replace(profile(graph).id.encode(), b"0" * 64))
    assert known(profile(graph), own_samples(graph)) is None


def test_a_cache_that_cannot_be_written_costs_time_and_no_more(cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    graph = chain()
    assert build(graph, profile(graph), own_samples(graph)).seconds


def test_numbers_of_another_format_are_compared_with_float32() -> None:
    graph = chain(3)
    found = build(graph, profile(graph, "cpu-int8"), own_samples(graph)).likeness
    assert found is not None
    assert found.samples == 16
    assert found.spikes is not None
    assert 0.9 < found.spikes <= 1
    assert found.answers is not None
    assert found.accuracy is found.exact_accuracy is None


def given(graph: Graph, level: float, count: int, labels: Array | None = None) -> Source:
    """So many samples whose values all have that level."""
    inputs = {name: np.full((count, *signal.shape), level, np.float32) for name, signal in graph.inputs.items()}
    found = Samples.of(graph, inputs, labels)
    return Source("own.npz", f"{level} {count}", lambda count: found)


def test_other_samples_are_measured_again() -> None:
    graph = chain()
    built = build(graph, profile(graph), given(graph, 0.5, 16))
    assert known(profile(graph), given(graph, 0.5, 16)) == built
    assert known(profile(graph), given(graph, 0.6, 16)) is known(profile(graph), own_samples(graph)) is None


def test_right_answers_are_counted_where_they_are_known() -> None:
    graph = chain(3)
    source = given(graph, 0.5, 20)
    exact = Whole(graph, [(tuple(graph.order()), "cpu")])
    right = exact.classes(exact.run(source.read(None).inputs, 20, source.read(None).steps))
    right[:5] = (right[:5] + 1) % WIDTH  # a quarter is called by another name
    found = build(graph, profile(graph, "cpu-int8"), given(graph, 0.5, 20, right)).likeness
    assert found is not None
    assert (found.samples, found.exact_accuracy) == (20, 0.75)
    assert found.accuracy in (0, 0.25, 0.75)


def test_batches_are_measured_where_there_are_samples_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, ran = chain(), runs(monkeypatch)
    assert set(build(graph, profile(graph), given(graph, 0.5, 3)).seconds) == {1} == set(ran)


@pytest.mark.slow
def test_held_out_digits_tell_how_many_answers_are_right() -> None:
    pytest.importorskip("sklearn")
    graph = simplify(load("svgg-digits"))
    found = build(graph, profile(graph, "cpu-int8"), own_samples(graph)).likeness
    assert found is not None
    assert found.samples == 360
    assert found.exact_accuracy == pytest.approx(0.98, abs=0.02)
    assert found.accuracy == pytest.approx(found.exact_accuracy, abs=0.02)
    assert found.answers is not None
    assert found.answers > 0.97
    assert found.spikes is not None
    assert found.spikes > 0.9


def test_a_chips_part_runs_there_and_the_rest_here() -> None:
    graph = chain()
    parts = parts_of(graph, profile(graph, "darwin3-int8"))
    assert {engine for _, engine in parts} == {"cpu", "darwin3"}
    assert sorted(name for names, _ in parts for name in names) == sorted(graph.operators)
    given = own_samples(graph).read(2)
    assert Whole(graph, parts).run(given.part(graph, 0, 2), 2, given.steps)["y"].shape == (4, 2, WIDTH)


def test_parts_give_the_bits_of_the_whole() -> None:
    graph, given = chain(), own_samples(chain()).read(2)
    inputs = given.part(graph, 0, 2)
    cut = [(("encoder", "fc0"), "cpu"), (("lif0", "fc1", "lif1", "rate"), "cpu")]
    uncut = Whole(graph, [(graph.order(), "cpu")]).run(inputs, 2, given.steps)["y"]
    np.testing.assert_array_equal(Whole(graph, cut).run(inputs, 2, given.steps)["y"], uncut)


def test_a_model_without_scores_has_no_classes() -> None:
    spikes = Graph({"lif": LIF()}, (Synapse("x", "lif"),), {"x": Signal((4,), Kind.VALUE)}, {"y": "lif"})
    with pytest.raises(UserError, match="no output with a score per class"):
        Whole(spikes, []).classes({})


def test_progress_goes_forward() -> None:
    graph, shares = chain(), []
    build(graph, profile(graph, "cpu-int8"), own_samples(graph), lambda what, share: shares.append(share))
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)


def test_engines_have_a_version() -> None:
    assert len(engines_version()) == 64
