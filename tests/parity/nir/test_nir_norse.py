"""The preset `norse` against Norse 1.1.0: its NIR import, and its own cells."""

import nir
import numpy as np
import pytest
from sources import Weights, chain, full, imported, listen, same_neuron, same_run

from synfire.base.errors import LossyImport
from synfire.base.paths import data
from synfire.formats.nir import read_nir
from synfire.graph.reference import run, trace
from synfire.ops import Signal

pytestmark = pytest.mark.parity
torch = pytest.importorskip(
    "torch", reason="the parity environment is not installed (tests/parity/requirements-nir.txt)"
)
norse = pytest.importorskip("norse.torch", reason="Norse is not installed (tests/parity/requirements-nir.txt)")

DT_S = 1e-3


def norse_run(graph, x, names, dt_s=DT_S):
    """Norse's own run: per neuron layer (input, spikes, membranes), each `(steps, batch, *shape)`."""
    network = norse.from_nir(graph, dt=dt_s)
    heard = listen({name: getattr(network, name.replace(".", "_")) for name in names})
    state = None
    with torch.no_grad():
        for frame in torch.from_numpy(x):
            _, state = network(frame, state)
    return {name: _stacked(*heard[name]) for name in names}


def _stacked(inputs, outputs):
    membranes = [
        state[1].v if isinstance(state, tuple) and not hasattr(state, "v") else state.v for _, state in outputs
    ]
    spikes = [output.numpy() for output, _ in outputs]
    return np.stack(inputs), np.stack(spikes), np.stack([v.detach().numpy() for v in membranes])


def lif(random, n):
    return nir.LIF(
        tau=random.between(2e-3, 2e-2, n),
        r=full(n, 1),
        v_leak=random(n, scale=0.1),
        v_threshold=random.between(0.2, 0.6, n),
    )


def cuba(random, n):
    return nir.CubaLIF(
        tau_syn=random.between(2e-3, 2e-2, n), tau_mem=random.between(2e-3, 2e-2, n), r=random.between(0.5, 3, n),
        v_leak=random(n, scale=0.1), v_threshold=random.between(0.2, 0.6, n), w_in=random.between(0.5, 4, n),
    )  # fmt: skip


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("neuron", [lif, cuba])
def test_feed_forward_graphs_give_the_spikes_and_membranes_of_norse(neuron, exact, tmp_path):
    for seed in range(5):
        random = Weights(seed, exact)
        graph = chain(
            (20,), (8,),
            a=nir.Affine(random(16, 20), random(16)), n1=neuron(random, 16),
            b=nir.Affine(random(8, 16), random(8)), n2=neuron(random, 8),
        )  # fmt: skip
        x = random.spikes(80, 4, 20)
        ours = imported(graph, tmp_path, "norse", DT_S)
        theirs = norse_run(graph, x, ["n1", "n2"])
        for name, (currents, spikes, membranes) in theirs.items():
            same_neuron(ours, name, currents, spikes, membranes)
        # The first layer's input is exact in both; the second's is as soon as the weights are, for its input is spikes.
        same_run(ours, x, {name: (i, s) for name, (i, s, _) in theirs.items()}, exact)


@pytest.mark.parametrize("exact", [True, False])
def test_convolutional_if_graphs_give_the_spikes_of_norse(exact, tmp_path):
    random = Weights(7, exact)
    shape = (3, 6, 6)
    graph = chain(
        (2, 8, 8), (5,),
        c=nir.Conv2d((8, 8), random(3, 2, 3, 3), 1, 0, 1, 1, random(3)),
        n1=nir.IF(r=full(shape, 1), v_threshold=full(shape, 1)),
        p=nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        f=nir.Flatten({"input": np.array([3, 3, 3])}, 0, -1),
        a=nir.Affine(random(5, 27), random(5)),
        n2=nir.IF(r=full(5, 1), v_threshold=full(5, 1)),
    )  # fmt: skip
    x = random.spikes(40, 1, 2, 8, 8)
    ours = imported(graph, tmp_path, "norse", DT_S)
    # Norse's Flatten(0) swallows the batch, so Norse runs without one.
    theirs = norse_run(graph, x[:, 0], ["n1", "n2"])
    for name, (currents, spikes, membranes) in theirs.items():
        same_neuron(ours, name, currents[:, None], spikes[:, None], membranes[:, None])
    same_run(ours, x, {name: (i[:, None], s[:, None]) for name, (i, s, _) in theirs.items()}, exact)


@pytest.mark.parametrize("neuron", [lif, cuba])
def test_recurrent_graphs_give_the_spikes_of_norse(neuron, tmp_path):
    """nirtorch runs the recurrent weights after the neuron, so their bias acts from the second step: rule "closing"."""
    for seed in range(5):
        random = Weights(seed, exact=True)
        graph = chain((10,), (6,), a=nir.Affine(np.abs(random(6, 10)), random(6)), n=neuron(random, 6))
        graph.nodes["w"] = nir.Affine(random(6, 6, scale=0.3), random(6, scale=0.3))
        graph.edges += [("n", "w"), ("w", "n")]
        x = random.spikes(60, 3, 10)
        ours = imported(graph, tmp_path, "norse", DT_S)
        theirs = norse_run(graph, x, ["n"])
        same_run(ours, x, {name: (i, s) for name, (i, s, _) in theirs.items()}, exact=True)


def test_the_braille_network_gives_the_spikes_of_norse():
    path = data() / "nir-graphs" / "braille_noDelay_bias_zero.nir"
    ours = read_nir(path, discretisation="norse", dt_s=1e-4)
    x = Weights(3, exact=False).spikes(256, 32, 12, rate=0.1)
    theirs = norse_run(nir.read(path, type_check=False), x, ["lif1.lif", "lif2"], dt_s=1e-4)
    for name, (currents, spikes, membranes) in theirs.items():
        same_neuron(ours, name, currents, spikes, membranes)
    flips = same_run(ours, x, {name: (i, s) for name, (i, s, _) in theirs.items()}, exact=False)
    print(f"braille, norse: {flips} flips among {sum(int(s.sum()) for _, s, _ in theirs.values())} spikes")


def test_the_single_lif_of_the_nir_paper_gives_the_bits_of_norse():
    path = data() / "nir-graphs" / "lif_norse.nir"
    recorded = np.loadtxt(data() / "nir-graphs" / "lif_norse.csv", delimiter=",", dtype=np.float32)
    ours = read_nir(path, discretisation="norse", dt_s=1e-4)
    theirs = norse_run(nir.read(path), recorded[:, :1, None].copy(), ["1"], dt_s=1e-4)["1"]
    same_neuron(ours, "1", *theirs)
    np.testing.assert_array_equal(theirs[1][:, 0, 0], recorded[:, 2])


def test_norse_cells_give_their_bits(tmp_path):
    """LIBoxCell is how Norse writes NIR's LI; its import reads neither that nor LIFCell, which jumps first."""
    from norse.torch.functional.lif import LIFFeedForwardState, LIFParameters, lif_feed_forward_step
    from norse.torch.module.leaky_integrator_box import LIBoxCell, LIBoxParameters

    x = Weights(0, exact=False)(50, 3, 4)
    tau_mem, tau_syn, leak, threshold = full(4, 8e-3), full(4, 5e-3), full(4, 0.1), full(4, 0.3)
    li = nir.LI(tau=tau_mem, r=full(4, 1), v_leak=leak)
    lif_cell = nir.CubaLIF(tau_syn, tau_mem, full(4, 1), leak, threshold)
    integrator = imported(chain((4,), (4,), n=li), tmp_path, "norse", DT_S).operator("n")
    neuron = imported(chain((4,), (4,), n=lif_cell), tmp_path, "norse-lifcell", DT_S).operator("n")
    syn_inv, mem_inv = (1 / torch.from_numpy(tau) for tau in (tau_syn, tau_mem))
    cell, state = LIBoxCell(LIBoxParameters(mem_inv, torch.from_numpy(leak)), dt=DT_S), None
    parameters = LIFParameters(syn_inv, mem_inv, torch.from_numpy(leak), torch.from_numpy(threshold))
    theirs = LIFFeedForwardState(torch.full((3, 4), 0.1), torch.zeros(3, 4))
    mine, ours, fired = integrator.initial_state(3, Signal((4,))), neuron.initial_state(3, Signal((4,))), 0
    for frame in torch.from_numpy(x):
        v, state = cell(frame, state)
        mine, out = integrator.step(mine, frame.numpy())
        np.testing.assert_array_equal(out, v.detach().numpy())
        z, theirs = lif_feed_forward_step(frame, theirs, parameters, DT_S)
        ours, out = neuron.step(ours, frame.numpy())
        np.testing.assert_array_equal(out, z.numpy())
        np.testing.assert_array_equal(ours["v"], theirs.v.numpy())
        np.testing.assert_array_equal(ours["i"], theirs.i.numpy())
        fired += int(out.sum())
    assert fired > 10


def test_what_norse_drops_is_a_loss_to_be_named(tmp_path):
    random = Weights(1, exact=True)
    node = nir.LIF(tau=full(4, 0.01), r=full(4, 1), v_leak=full(4, 0), v_threshold=full(4, 0.1), v_reset=full(4, -0.5))
    graph = chain((4,), (4,), a=nir.Affine(random(4, 4), random(4)), n=node)
    with pytest.raises(LossyImport, match="allow='v_reset'"):
        imported(graph, tmp_path, "norse", DT_S)
    x = random.spikes(40, 2, 4)
    dropped = imported(graph, tmp_path, "norse", DT_S, allow="v_reset")
    theirs = norse_run(graph, x, ["n"])["n"]
    np.testing.assert_array_equal(trace(dropped, {"input": x}).emitted["n"], theirs[1])
    kept = imported(graph, tmp_path, "euler", DT_S)
    assert run(kept, {"input": x})["output"].sum() < theirs[1].sum(), "the reset potential matters"


def test_norse_writes_time_constants_that_it_does_not_read_back(tmp_path):
    """A defect of Norse 1.1.0: its export multiplies τ by dt, its import does not divide; ours reads what the file says."""
    cell = norse.LIFBoxCell(norse.LIFBoxParameters(*(torch.full((4,), value) for value in (100.0, 0.0, 1.0))), dt=DT_S)
    exported = norse.to_nir(torch.nn.Sequential(torch.nn.Linear(4, 4), cell), torch.zeros(1, 4), dt=DT_S)
    (node,) = (each for each in exported.nodes.values() if isinstance(each, nir.LIF))
    np.testing.assert_allclose(node.tau, DT_S / 100, rtol=1e-6)
    graph = chain((4,), (4,), n=nir.LIF(tau=full(4, 0.01), r=full(4, 1), v_leak=full(4, 0), v_threshold=full(4, 1)))
    assert imported(graph, tmp_path, "norse", DT_S).operator("n").rate == pytest.approx(0.1)
