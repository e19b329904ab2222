"""From a stage to words on cores: what runs there is what the network means, to the last bit of its whole numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synfire import zoo
from synfire.base.errors import UserError
from synfire.devices.darwin3.cache import ImageCache
from synfire.devices.darwin3.compile import STEPS, Options, compile_stage, cores_of, events_of
from synfire.devices.darwin3.limits import chip
from synfire.devices.darwin3.place import traffic
from synfire.devices.darwin3.refusals import refusals
from synfire.devices.darwin3.run import Run
from synfire.devices.darwin3.symbols import label
from synfire.engines.darwin3 import Darwin3Engine, Darwin3Program
from synfire.graph.passes import simplify
from synfire.testing.darwin3 import Hybrid, parts, wide_network
from synfire.testing.darwin3_reference import random_stage, simulate
from synfire.testing.zoo import answers, held_out

LIMITS = chip()
CUT = replace(LIMITS, neurons_per_core=8, dendrite_words={"big": 1024, "little": 128})


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), bits=st.sampled_from([4, 8, 16]), cut=st.booleans())
def test_the_words_compute_what_the_network_of_whole_numbers_means(seed: int, bits: int, cut: bool) -> None:
    graph = random_stage(seed)
    compiled = compile_stage(graph, CUT if cut else LIMITS, Options(bits=bits))
    program, (name,) = Darwin3Program(graph, compiled), graph.inputs
    x = (np.random.default_rng(seed).random((5, 2, *graph.inputs[name].shape)) < 0.4).astype(np.uint8)
    _, got = program.run(program.initial_state(2), {name: x}, 5)
    for b in range(2):
        emitted = simulate(compiled.network, {name: x[:, b].reshape(5, -1)}, whole=True)
        for output, found in compiled.network.outputs.items():
            wanted = sum(emitted[source] @ rows.dense() for source, rows in found.terms)
            if found.membrane:
                scales = compiled.whole.scales[found.terms[0][0]]
                wanted = wanted / np.repeat(scales, wanted.shape[1] // len(scales))
            np.testing.assert_array_equal(got[output][:, b].reshape(5, -1), wanted.astype(got[output].dtype))


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_toolchains_way_and_ours_compute_the_same(seed: int) -> None:
    graph = random_stage(seed)
    (name,) = graph.inputs
    x = (np.random.default_rng(seed).random((4, 2, *graph.inputs[name].shape)) < 0.4).astype(np.uint8)
    found = []
    for options in (Options(), Options(as_toolchain=True), Options(piece_words=64)):
        program = Darwin3Engine(LIMITS, options).build(graph)
        found.append(program.run(program.initial_state(2), {name: x}, 4)[1])
    for other in found[1:]:
        assert all(np.array_equal(found[0][output], other[output]) for output in found[0])


def test_pieces_grow_where_there_are_not_cores_enough_for_small_ones() -> None:
    graph = wide_network(layers=2, channels=8, side=16)
    small = compile_stage(graph, LIMITS, Options(piece_words=200))
    few = set(list(LIMITS.hosts())[: len(small.linked.places) - 1])
    large = compile_stage(graph, LIMITS, Options(piece_words=200), occupied=set(LIMITS.hosts()) - few)
    assert len(large.linked.places) < len(small.linked.places)
    assert set(large.linked.cores) <= few


def test_every_step_is_timed() -> None:
    seconds = compile_stage(random_stage(1), LIMITS).seconds
    assert tuple(seconds) == STEPS
    assert min(seconds.values()) > 0


@pytest.mark.slow
def test_the_wide_network_is_placed_with_half_the_traffic_of_the_toolchain() -> None:
    graph, found = wide_network(), []
    for options in (Options(), Options(as_toolchain=True)):
        linked = compile_stage(graph, LIMITS, options).linked
        found.append(traffic({label(piece): core for piece, core in linked.places.items()}, linked.table.flows, LIMITS))
    assert found[0].spike_hops < 0.6 * found[1].spike_hops
    assert found[0].busiest_link < 0.6 * found[1].busiest_link


def test_cached_images_spare_the_assembly_and_change_nothing() -> None:
    cache, graph = ImageCache(), wide_network(layers=2)
    first, second = compile_stage(graph, LIMITS, cache=cache), compile_stage(graph, LIMITS, cache=cache)
    assert (
        second.images
        == first.images
        == {name: image for name, image in second.images.items() if image is first.images[name]}
    )


def test_a_stage_that_does_not_fit_is_refused_with_the_operators_name() -> None:
    with pytest.raises(UserError, match=r"'encoder': it encodes analog values.*and 3 more operators.*place it on cpu"):
        compile_stage(simplify(zoo.load("svgg-digits")), LIMITS)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["svgg-digits", "scnn-digits", "sresnet-digits", "srnn-digits"])
def test_eight_bits_on_the_chip_are_within_a_point_of_float_on_digits(model: str) -> None:
    graph = simplify(zoo.load(model))
    requests, labels = held_out(zoo.card(model)["dataset"])
    (output,) = graph.outputs
    exact = (answers(graph, requests)[output].argmax(-1) == labels).mean()
    chip_ = (Hybrid(graph).answers(requests).argmax(-1) == labels).mean()
    assert chip_ >= exact - 0.01


@pytest.mark.slow
@pytest.mark.parametrize("model", ["svgg-mnist", "scnn-mnist", "sresnet-mnist"])
def test_eight_bits_on_the_chip_are_within_a_point_of_float_on_mnist(model: str) -> None:
    graph = simplify(zoo.load(model))
    try:
        requests, labels = held_out("mnist", 1000)
    except UserError as error:
        pytest.skip(str(error))
    (output,) = graph.outputs
    exact = (answers(graph, requests)[output].argmax(-1) == labels).mean()
    assert (Hybrid(graph).answers(requests).argmax(-1) == labels).mean() >= exact - 0.01


@pytest.mark.parametrize("model", zoo.names())
def test_every_model_of_the_zoo_has_stages_that_the_chip_takes(model: str) -> None:
    graph = simplify(zoo.load(model))
    found = parts(graph)
    assert any(each.on_chip for each in found)
    assert not any(refusals(each.graph) for each in found if each.on_chip)
    assert sorted(name for each in found for name in each.graph.operators) == sorted(graph.operators)


def test_a_model_is_parted_where_the_chip_stops() -> None:
    found = parts(simplify(zoo.load("svgg-digits")))
    assert [(each.on_chip, len(each.graph.operators)) for each in found] == [(False, 3), (True, 12), (False, 1)]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cut=st.booleans())
def test_the_cores_of_a_stage_are_known_before_it_is_compiled(seed: int, cut: bool) -> None:
    graph, limits = random_stage(seed), CUT if cut else LIMITS
    compiled = compile_stage(graph, limits)
    assert cores_of(graph, limits) == compiled.cores
    assert compiled.cores.total == len(compiled.linked.places)


@pytest.fixture
def arrived(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many events reached cores in each step of any chip, of the first sample: those that are given, and an entry's of each spike."""
    found: list[int] = []
    stepped = Run.step

    def step(run: Run, given: np.ndarray) -> np.ndarray:
        left = stepped(run, given)
        tables = run.wiring.tables
        ends, leads = np.flatnonzero(tables.entries[:, 4]), tables.entries[:, 0] >= 0
        heads = [head for head in tables.head[run._fired[0, : run._count[0]]] if head >= 0]
        found.append(len(given) + sum(int(leads[at : ends[np.searchsorted(ends, at)] + 1].sum()) for at in heads))
        return left

    monkeypatch.setattr(Run, "step", step)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_the_events_of_a_stage_are_known_by_its_spikes_and_never_too_few(seed: int, arrived: list[int]) -> None:
    graph, steps = random_stage(seed), 20
    (name,) = graph.inputs
    x = (np.random.default_rng(seed).random((steps, 1, *graph.inputs[name].shape)) < 0.4).astype(np.uint8)
    for limits in (LIMITS, CUT):
        compiled = compile_stage(graph, limits)
        program = Darwin3Program(graph, compiled)
        arrived.clear()
        program.run(program.initial_state(1), {name: x}, steps)
        activity = program.chip.activity()
        spikes = dict.fromkeys(compiled.network.populations, 0)
        for (population, _), core in compiled.linked.places.items():
            spikes[population] += int(activity.spikes[0, activity.cores.index(core)])
        density = {each: count / compiled.network.populations[each].size / steps for each, count in spikes.items()}
        expected = events_of(graph, limits, {name: float(x.mean()), **density}) * steps
        if limits is LIMITS:
            assert expected == pytest.approx(sum(arrived))
        else:  # a piece with some rows of a map hears fewer of its spikes
            assert sum(arrived) <= expected * (1 + 1e-9) <= 2 * sum(arrived)


def test_populations_that_hand_on_spikes_have_as_many_as_they_are_given() -> None:
    for seed in range(40):
        graph = random_stage(seed)
        names = {*graph.inputs, *graph.operators}
        half = events_of(graph, LIMITS, dict.fromkeys(names, 0.5)) - events_of(graph, LIMITS, dict.fromkeys(names, 0.0))
        whole = events_of(graph, LIMITS, {}) - events_of(graph, LIMITS, dict.fromkeys(names, 0.0))
        assert whole == pytest.approx(2 * half)
