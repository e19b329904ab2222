"""What is written reads back as the same model, for every preset; what NIR cannot say is refused, and nothing written."""

import nir
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sheets import affine, chain, conv2d, full, lif, recurrent, write

from synfire.base.errors import UserError
from synfire.formats.discretisation import PRESETS
from synfire.formats.nir import read_nir, write_nir
from synfire.graph import Graph, Synapse
from synfire.graph.reference import run
from synfire.ops import Clock, Signal
from synfire.ops.discrete_lif import DiscreteLIF
from synfire.ops.if_ import IF
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.ops.max_pool2d import MaxPool2d
from synfire.ops.mean_rate import MeanRate

DT_S = 1e-3


def neurons(draw, n, preset):
    """A neuron that the preset can express."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def values(low, high):
        return (rng.uniform(low, high, n) if draw(st.booleans()) else np.full(n, rng.uniform(low, high))).astype("f4")

    kinds = ["LIF", "IF", "CubaLIF"] + ([] if preset == "spikingjelly" else ["LI", "CubaLI"])
    kind = draw(st.sampled_from(kinds))
    tau, tau_syn, threshold = values(2e-3, 5e-2), values(2e-3, 5e-2), values(0.1, 2)
    leak = values(-0.2, 0.2) if preset in ("euler", "exponential", "norse") else full(n, 0)
    one, zero = full(n, 1), full(n, 0)
    free = preset in ("euler", "exponential")
    if kind == "IF":
        r = {"spikingjelly": np.full(n, 1 / DT_S)}.get(preset, values(10, 90) if free else one)
        return nir.IF(r=r, v_threshold=threshold, v_reset=values(-0.2, 0) if free else zero)
    if kind == "LIF":
        return nir.LIF(tau=tau, r=values(0.5, 2) if free else one, v_leak=leak, v_threshold=threshold, v_reset=zero)
    if kind == "LI":
        return nir.LI(tau=tau, r=values(0.5, 2) if free else one, v_leak=leak)
    scaled = {"snntorch", "snntorch-delayed", "spikingjelly"} & {preset}
    r, w_in = (tau / DT_S, tau_syn / DT_S) if scaled else (values(0.5, 2), values(0.5, 2))
    if preset == "sinabs":
        r = w_in = one
    fields = {"tau_mem": tau, "tau_syn": tau_syn, "r": r, "v_leak": leak, "w_in": w_in}
    return nir.CubaLI(**fields) if kind == "CubaLI" else nir.CubaLIF(**fields, v_threshold=threshold, v_reset=zero)


@st.composite
def models(draw):
    preset = draw(st.sampled_from(sorted(PRESETS)))
    graph = chain((3,), (5,), a=affine(4, 3), n=neurons(draw, 4, preset), b=affine(5, 4), m=neurons(draw, 5, preset))
    if draw(st.booleans()):
        graph.nodes["w"] = affine(4, 5, seed=3)
        graph.edges += [("m", "w"), ("w", "n")]
    if draw(st.booleans()):
        graph.nodes["d"] = nir.Delay(np.array([0, 1, 2, 3, 4]) * DT_S)
        graph.edges = [("m", "d") if edge == ("m", "output") else edge for edge in graph.edges] + [("d", "output")]
    return preset, graph


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(models())
def test_a_graph_written_and_read_again_gives_the_same_bits(tmp_path_factory, model):
    preset, sheet = model
    folder = tmp_path_factory.mktemp("nir")
    first = read_nir(write(sheet, folder / "a.nir"), discretisation=preset, dt_s=DT_S)
    write_nir(first, folder / "b.nir")
    again = read_nir(folder / "b.nir", discretisation=preset, dt_s=DT_S)
    assert again.content_digest() == first.content_digest()
    x = np.random.default_rng(0).standard_normal((20, 2, 3)).astype("f4")
    np.testing.assert_array_equal(run(again, {"input": x})["output"], run(first, {"input": x})["output"])
    assert set(nir.read(folder / "b.nir").nodes) >= {"a", "n", "b", "m"}


def test_convolutions_and_pools_are_written_with_their_shapes(tmp_path):
    pool = nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))
    average = nir.AvgPool2d(np.array([2, 1]), np.array([1, 1]), np.array([0, 0]))
    graph = chain(
        (2, 8, 8), (1,), c=conv2d((3, 2, 3, 3), "same"), n=lif((3, 8, 8)), p=pool, q=average,
        f=nir.Flatten({"input": np.array([3, 3, 4])}, 0, -1), a=affine(1, 36),
    )  # fmt: skip
    first = read_nir(write(graph, tmp_path / "a.nir"), discretisation="euler", dt_s=DT_S)
    write_nir(first, tmp_path / "b.nir")
    again = read_nir(tmp_path / "b.nir", discretisation="euler", dt_s=DT_S)
    assert again.content_digest() == first.content_digest()
    assert nir.read(tmp_path / "b.nir").nodes["c"].input_shape.tolist() == [8, 8]


def test_delays_on_synapses_become_delay_nodes(tmp_path):
    first = recurrent_graph(delay=3)
    write_nir(first, tmp_path / "a.nir", dt_s=DT_S)
    again = read_nir(tmp_path / "a.nir", discretisation="euler", dt_s=DT_S)
    x = np.random.default_rng(0).standard_normal((30, 2, 3)).astype("f4")
    np.testing.assert_array_equal(run(again, {"x": x})["y"], run(first, {"x": x})["y"])


def recurrent_graph(delay):
    from synfire.ops.add import Add

    rng = np.random.default_rng(4)
    weights = {name: rng.standard_normal(shape).astype("f4") for name, shape in (("a", (4, 3)), ("w", (4, 4)))}
    operators = {name: Linear(weight, np.zeros(4, np.float32)) for name, weight in weights.items()}
    operators |= {"sum": Add(), "n": DiscreteLIF(rate=float(np.float32(DT_S) * (np.float32(1) / np.float32(0.01))))}
    synapses = (Synapse("x", "a"), Synapse("a", "sum", 0), Synapse("w", "sum", 1), Synapse("sum", "n"),
                Synapse("n", "w", 0, delay))  # fmt: skip
    return Graph(operators, synapses, {"x": Signal((3,))}, {"y": "n"})


@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_a_spikingjelly_model_is_written_by_the_preset_of_that_name(reset, tmp_path):
    operators = {"a": Linear(np.ones((4, 3), np.float32), np.zeros(4, np.float32)), "n": LIF(tau=2.0, reset=reset)}
    graph = Graph(operators, (Synapse("x", "a"), Synapse("a", "n")), {"x": Signal((3,))}, {"n": "n"})
    choice = PRESETS["spikingjelly"].with_(dt_s=DT_S)
    if reset == "soft":
        with pytest.raises(UserError, match=r"'n' \(LIF\).*differs in reset"):
            write_nir(graph, tmp_path / "a.nir", discretisation=choice)
        assert not list(tmp_path.iterdir())
        return
    write_nir(graph, tmp_path / "a.nir", discretisation=choice)
    again = read_nir(tmp_path / "a.nir", discretisation=choice)
    assert again.operator("n").content_digest() == graph.operator("n").content_digest()
    assert list(again.outputs) == ["n.output"]


@pytest.mark.parametrize(
    ("operators", "cure"),
    [
        ({"p": MaxPool2d(kernel=(2, 2), stride=(2, 2))}, "'p': NIR has no node for MaxPool2d; write a bundle"),
        ({"r": MeanRate()}, "'r': NIR has no node for MeanRate; write a bundle"),
        ({"n": IF()}, "'n' \\(IF\\) cannot be written so that 'euler' reads it back the same"),
        ({"n": DiscreteLIF(rate=0.0)}, "no finite time constant"),
    ],
)
def test_what_nir_cannot_say_is_refused_by_name(operators, cure, tmp_path):
    (name,) = operators
    graph = Graph(operators, (Synapse("x", name),), {"x": Signal((2, 4, 4))}, {"y": name})
    with pytest.raises(UserError, match=cure):
        write_nir(graph, tmp_path / "a.nir", dt_s=DT_S)
    assert not list(tmp_path.iterdir())


def test_a_graph_with_an_encoder_is_refused(tmp_path):
    graph = Graph({"a": Linear(np.ones((2, 3), np.float32), np.zeros(2, np.float32))}, (Synapse("x", "a"),),
                  {"x": Signal((3,), clock=Clock.REQUEST)}, {"y": "a"})  # fmt: skip
    with pytest.raises(UserError, match="cut the encoder off first"):
        write_nir(graph, tmp_path / "a.nir")


def test_a_graph_with_neurons_needs_a_time_step_to_be_written(tmp_path):
    with pytest.raises(UserError, match="pass dt_s="):
        write_nir(recurrent_graph(delay=1), tmp_path / "a.nir")


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match="cannot be written"):
        write_nir(recurrent_graph(delay=1), tmp_path / "nowhere" / "a.nir", dt_s=DT_S)


def test_recurrent_models_read_back_for_every_preset(tmp_path):
    for preset in PRESETS:
        first = read_nir(write(recurrent(lif(4), 4), tmp_path / "a.nir"), discretisation=preset, dt_s=DT_S)
        write_nir(first, tmp_path / "b.nir")
        again = read_nir(tmp_path / "b.nir", discretisation=preset, dt_s=DT_S)
        assert again.synapses == first.synapses
