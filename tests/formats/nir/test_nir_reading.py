"""Files of every NIR node type become graphs; what is wrong with a file is said, with its place and cure."""

import errno
from pathlib import Path

import h5py
import nir
import numpy as np
import pytest
from sheets import affine, chain, conv2d, edit, full, lif, recurrent, sheet, write

from synfire.base.errors import LossyImport, UnknownName, UserError
from synfire.formats import load
from synfire.formats.nir import read_nir
from synfire.graph.reference import run, trace

DT_S = 1e-3


def read(graph, tmp_path, preset="euler", **options):
    return read_nir(write(graph, tmp_path / "graph.nir"), discretisation=preset, **{"dt_s": DT_S, **options})


def test_a_file_is_loaded_by_its_name_with_a_discretisation_that_the_graph_keeps(tmp_path):
    path = write(chain((3,), (4,), a=affine(4, 3), n=lif(4)), tmp_path / "graph.nir")
    graph = load(path, discretisation="norse", dt_s=1e-4)
    assert graph.metadata["discretisation"]["name"] == "norse"
    assert graph.metadata["discretisation"]["dt_s"] == 1e-4
    assert list(graph.inputs) == ["input"]
    assert graph.output_signals()["output"].shape == (4,)


def test_every_layer_type_keeps_its_meaning(tmp_path):
    weight = np.random.default_rng(0).standard_normal((2, 3, 2)).astype("f4")
    graph = chain(
        (3, 7), (12,),
        c=nir.Conv1d(7, weight, 1, 0, 1, 1, full(2, 0.5)), f=nir.Flatten({"input": np.array([2, 6])}, 0, -1),
        s=nir.Scale(np.arange(12, dtype=np.float32)), t=nir.Threshold(full(12, 0.5)), d=nir.Delay(full(12, 2 * DT_S)),
    )  # fmt: skip
    x = np.random.default_rng(1).standard_normal((5, 2, 3, 7)).astype("f4")
    emitted = trace(read(graph, tmp_path), {"input": x}).emitted
    windows = np.lib.stride_tricks.sliding_window_view(x, 2, axis=-1)
    expected = np.einsum("tbixk,oik->tbox", windows, weight) + 0.5
    np.testing.assert_allclose(emitted["c"], expected, rtol=1e-5, atol=1e-5)
    scaled = emitted["c"].reshape(5, 2, 12) * np.arange(12, dtype=np.float32)
    np.testing.assert_array_equal(emitted["t"], scaled > 0.5)
    np.testing.assert_array_equal(emitted["d"][2:], emitted["t"][:3])
    assert not emitted["d"][:2].any()


def test_kernels_that_are_not_square_get_their_own_shapes(tmp_path):
    """NIR 1.0.8 uses the kernel's height for both axes, and so refuses this file that it wrote itself."""
    graph = chain((2, 8, 8), (3, 6, 4), c=conv2d((3, 2, 3, 5), input_shape=(8, 8)), n=lif((3, 6, 4)))
    ours = read(graph, tmp_path)
    assert ours.output_signals()["output"].shape == (3, 6, 4)
    assert run(ours, {"input": np.ones((2, 1, 2, 8, 8), np.float32)})["output"].shape == (2, 1, 3, 6, 4)
    with pytest.raises(ValueError, match="mismatch"):
        nir.read(tmp_path / "graph.nir")


@pytest.mark.parametrize(
    ("padding", "kernel", "shape"), [("valid", 3, (6, 6)), ("same", 3, (8, 8)), ("same", 4, (8, 8))]
)
def test_padding_in_words_is_padding_in_numbers(padding, kernel, shape, tmp_path):
    graph = read(chain((2, 8, 8), (3, *shape), c=conv2d((3, 2, kernel, kernel), padding)), tmp_path)
    assert graph.output_signals()["output"].shape == (3, *shape)
    if kernel == 4:
        assert graph.operator("c").padding == (1, 2, 1, 2)


def test_same_padding_with_a_stride_is_refused(tmp_path):
    with pytest.raises(UserError, match="give the padding as numbers"):
        read(chain((2, 8, 8), (3, 4, 4), c=conv2d((3, 2, 3, 3), "same", stride=2)), tmp_path)


def test_flatten_keeps_the_batch_and_the_axes_before_its_start(tmp_path):
    graph = read(chain((2, 3, 4), (2, 12), f=nir.Flatten({"input": np.array([2, 3, 4])}, 1, -1)), tmp_path)
    assert graph.output_signals()["output"].shape == (2, 12)


def test_several_edges_into_a_node_add_up(tmp_path):
    graph = chain((3,), (4,), a=affine(4, 3), n=lif(4))
    graph.nodes["b"] = affine(4, 3, seed=5)
    graph.edges += [("input", "b"), ("b", "n")]
    ours = read(graph, tmp_path)
    assert ours.operator("n.sum").kind == "Add"
    x = np.random.default_rng(0).standard_normal((20, 2, 3)).astype("f4")
    emitted = trace(ours, {"input": x}).emitted
    np.testing.assert_array_equal(emitted["n.sum"], emitted["a"] + emitted["b"])


@pytest.mark.parametrize(("preset", "waits"), [("euler", ("n", "w")), ("norse", ("w", "n.sum"))])
def test_a_cycle_waits_one_step_where_the_framework_waits(preset, waits, tmp_path):
    graph = read(recurrent(lif(4), 4), tmp_path, preset)
    assert [(s.source, s.target, s.delay_steps) for s in graph.synapses if s.delay_steps] == [(*waits, 1)]
    bias = graph.operator("w").bias
    first = trace(graph, {"input": np.zeros((1, 1, 3), np.float32)}).emitted
    recurrent_part = first["n.sum"][0, 0] - first["a"][0, 0]
    np.testing.assert_allclose(recurrent_part, bias if preset == "euler" else 0, atol=1e-6)


def test_subgraphs_are_taken_apart(tmp_path):
    inner = chain((4,), (4,), n=lif(4))
    inner.nodes["w"] = affine(4, 4, seed=2)
    inner.edges += [("n", "w"), ("w", "n")]
    nested = read(chain((3,), (4,), a=affine(4, 3), sub=inner), tmp_path)
    plain = read(recurrent(lif(4), 4), tmp_path)
    x = np.random.default_rng(0).standard_normal((30, 2, 3)).astype("f4")
    assert set(nested.operators) == {"a", "sub.n", "sub.w", "sub.n.sum"}
    np.testing.assert_array_equal(run(nested, {"input": x})["output"], run(plain, {"input": x})["output"])


def test_a_delay_in_a_cycle_is_the_delay_of_the_cycle(tmp_path):
    graph = recurrent(lif(4), 4)
    graph.nodes["d"] = nir.Delay(full(4, 3 * DT_S))
    graph.edges = [edge for edge in graph.edges if edge != ("n", "w")] + [("n", "d"), ("d", "w")]
    ours = read(graph, tmp_path)
    assert [(s.source, s.target, s.delay_steps) for s in ours.synapses if s.delay_steps] == [("n", "w", 3)]


def test_a_time_step_has_no_default(tmp_path):
    path = write(chain((3,), (4,), a=affine(4, 3), n=lif(4)), tmp_path / "graph.nir")
    with pytest.raises(UserError, match="pass dt_s="):
        read_nir(path, discretisation="norse")
    with pytest.raises(UnknownName, match="known: euler, exponential, norse"):
        read_nir(path, discretisation="nest", dt_s=DT_S)
    with pytest.raises(UnknownName, match="v_reset"):
        read_nir(path, discretisation="norse", dt_s=DT_S, allow="everything")


def test_a_time_step_longer_than_a_time_constant_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"'n'.*pass a smaller dt_s"):
        read(chain((3,), (4,), a=affine(4, 3), n=lif(4, tau=1e-4)), tmp_path)


@pytest.mark.parametrize(
    ("preset", "change", "loss"),
    [
        ("norse", {"r": 2.0}, "r"),
        ("norse", {"v_reset": 0.25}, "v_reset"),
        ("snntorch", {"v_leak": 0.25}, "v_leak"),
        ("sinabs", {"v_leak": 0.25}, "v_leak"),
        ("sinabs", {"v_reset": 0.25}, "v_reset"),
        ("spikingjelly", {"r": 3.0}, "r"),
        ("spikingjelly", {"v_leak": 0.25}, "v_leak"),
    ],
)
def test_what_a_preset_cannot_express_is_a_loss_to_be_named(preset, change, loss, tmp_path):
    graph = chain((3,), (4,), a=affine(4, 3), n=lif(4, **change))
    with pytest.raises(LossyImport, match=f"'n'.*allow='{loss}'"):
        read(graph, tmp_path, preset)
    assert set(read(graph, tmp_path, preset, allow=loss).operators) == {"a", "n"}
    kept = read(graph, tmp_path, "euler").operator("n")
    assert kept.parameters()[{"r": "gain"}.get(loss, loss)] == next(iter(change.values()))


def test_a_delay_between_steps_is_a_loss_to_be_named(tmp_path):
    graph = chain((3,), (3,), d=nir.Delay(full(3, 1.4 * DT_S)))
    with pytest.raises(LossyImport, match="allow='delay'"):
        read(graph, tmp_path)
    assert read(graph, tmp_path, allow="delay").operator("d").steps == 1


GOOD = {"a": affine(4, 3), "n": lif(4)}


@pytest.mark.parametrize(
    ("damage", "cure"),
    [
        (lambda p: edit(p, edges=[[b"a", b"n"], [b"n", b"ghost"]]), "dangles: there is no node 'ghost'; remove or rename"),
        (lambda p: edit(p, edges=[[b"input", b"a"], [b"a", b"n"]]), "'output' is reached by no edge; connect or remove"),
        (lambda p: edit(p, edges=[[b"input", b"a"], [b"input", b"a"]]), "is there twice; remove one"),
        (lambda p: edit(p, edges=[[b"output", b"a"]]), "starts at an Output node"),
        (lambda p: edit(p, edges=np.zeros((3, 2))), "must be pairs of node names"),
        (lambda p: edit(p, edges=None), "lacks nodes or edges; export the model again"),
        (lambda p: edit(p, input__type="Scale", input__scale=1.0, input__shape=None), "no Input node"),
        (lambda p: edit(p, output__type="Scale", output__scale=1.0, output__shape=None), "no Output node"),
        (lambda p: edit(p, a__weight=full((4, 3), np.nan)), "'a'.*holds NaN or infinity; train or export"),
        (lambda p: edit(p, n__tau=np.full(4, 1e300)), "'n'.*beyond float32.*scale them"),
        (lambda p: edit(p, n__tau=full(4, np.inf)), "'n'.*holds NaN or infinity"),
        (lambda p: edit(p, a__weight=np.full((4, 3), b"x")), "'a'.*has dtype .*must hold real numbers"),
        (lambda p: edit(p, a__weight=np.ones((4, 3), np.complex64)), "must hold real numbers"),
        (lambda p: edit(p, a__weight=full((4, 3, 2, 1), 1)), "'a'.*synfire takes \\(output, input\\)"),
        (lambda p: edit(p, a__weight=None), "'a'.*'weight' is missing; export the model again"),
        (lambda p: edit(p, a__type=None), "'a' has no type"),
        (lambda p: edit(p, a__type="Perceptron"), "'a'.*no such node type; known: Affine, AvgPool2d"),
        (lambda p: edit(p, n__tau=full(4, -1)), "'n'.*tau must be above 0 seconds"),
        (lambda p: edit(p, n__tau_adapt=full(4, 1)), "'n'.*tau_adapt.*allow='unknown_fields'"),
        (lambda p: edit(p, n__v_threshold=full(5, 1)), "'n'.*threshold"),
        (lambda p: edit(p, input__shape=[7]), "'a': Linear takes 3 inputs"),
        (lambda p: edit(p, input__shape=[-3]), "'input'.*whole numbers above 0"),
        (lambda p: edit(p, output__shape=[9]), "'output'.*states the shape \\(9,\\), but \\(4,\\) arrives"),
        (lambda p: p.write_bytes(p.read_bytes()[:2000]), "cannot be read as HDF5.*export or copy it again"),
        (lambda p: p.write_bytes(b"not a model at all"), "cannot be read as HDF5"),
        (lambda p: p.write_bytes(b""), "cannot be read as HDF5"),
        (lambda p: p.unlink(), "there is no file"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_refused_with_place_and_cure(damage, cure, tmp_path):
    graph = chain((3,), (4,), a=affine(4, 3), n=lif(4, v_threshold=0.25, tau=0.02))
    graph.nodes["n"].v_threshold = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    path = write(graph, tmp_path / "graph.nir")
    damage(path)
    with pytest.raises(UserError, match=cure) as caught:
        read_nir(path, discretisation="euler", dt_s=DT_S)
    assert str(path) in str(caught.value)


def test_hdf5_that_is_no_nir_is_refused(tmp_path):
    with h5py.File(tmp_path / "other.nir", "w") as file:
        file["data"] = [1, 2, 3]
    with pytest.raises(UserError, match=r"not a NIR file; write it with nir\.write"):
        read_nir(tmp_path / "other.nir", discretisation="euler", dt_s=DT_S)
    nir.write(tmp_path / "node.nir", lif(3))
    with pytest.raises(UserError, match="wrap it in a NIRGraph"):
        read_nir(tmp_path / "node.nir", discretisation="euler", dt_s=DT_S)


def test_a_cycle_without_a_neuron_is_refused(tmp_path):
    graph = chain((3,), (3,), a=affine(3, 3))
    graph.nodes["b"] = affine(3, 3)
    graph.edges += [("a", "b"), ("b", "a")]
    with pytest.raises(UserError, match="holds no neuron"):
        read(graph, tmp_path)


def test_a_subgraph_with_two_inputs_is_ambiguous(tmp_path):
    inner = sheet([("x", "n"), ("y", "n"), ("n", "z")], x=nir.Input(np.array([4])), y=nir.Input(np.array([4])), n=lif(4),
                  z=nir.Output(np.array([4])))  # fmt: skip
    with pytest.raises(UserError, match="ambiguous; give it exactly one"):
        read(chain((3,), (4,), a=affine(4, 3), sub=inner), tmp_path)


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    path = write(chain((4,), (4,), n=lif(4)), tmp_path / "net.nir")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UserError, match="no permission; give this user the right to read it"):
        read_nir(path, discretisation="norse", dt_s=1e-3)
