"""The preset `sinabs` against sinabs 3.1.3: its NIR import, its own layers, and the trained N-MNIST network."""

import nir
import numpy as np
import pytest
from sources import Weights, chain, full, imported, listen

from synfire.base.errors import LossyImport, UserError
from synfire.base.paths import data
from synfire.engines.engine import ENGINES
from synfire.formats.discretisation import PRESETS
from synfire.formats.nir import read_nir
from synfire.graph import Graph, Synapse
from synfire.graph.reference import run, trace
from synfire.ops.cuba_lif import CubaLIF
from synfire.ops.signal import Signal

pytestmark = pytest.mark.parity
torch = pytest.importorskip(
    "torch", reason="the parity environment is not installed (tests/parity/requirements-nir.txt)"
)
sinabs = pytest.importorskip("sinabs.layers", reason="sinabs is not installed (tests/parity/requirements-nir.txt)")

EPSILON = 1e-4


def sinabs_run(graph, x, names):
    """sinabs' own run: per layer (input, counts), each `(steps, batch, *shape)`, and the last membranes."""
    from sinabs.nir import from_nir

    steps, batch = x.shape[:2]
    network = from_nir(graph, batch_size=batch)
    layers = {name: getattr(network, sanitised(name)) for name in names}
    heard = listen(layers)
    with torch.no_grad():
        network(torch.from_numpy(np.ascontiguousarray(x.swapaxes(0, 1)).reshape(steps * batch, *x.shape[2:])))

    def by_step(array):
        return array.reshape(batch, steps, *array.shape[1:]).swapaxes(0, 1)

    found = {}
    for name, (inputs, outputs) in heard.items():
        (output,) = (each[0] if isinstance(each, tuple) else each for each in outputs)
        found[name] = (by_step(inputs[0]), by_step(output.detach().numpy()), layers[name].v_mem.detach().numpy())
    return found


def sanitised(name):
    from nirtorch.utils import sanitize_name

    return sanitize_name(name)


def step_through(operator, x):
    state, outputs = operator.initial_state(x.shape[1], Signal(x.shape[2:])), []
    for current in x:
        state, output = operator.step(state, current)
        outputs.append(output)
    return np.stack(outputs), state


def if_layer(shape, threshold=1.0):
    return nir.IF(r=full(shape, 1), v_threshold=full(shape, threshold))


def lif_layer(random, n):
    """sinabs writes τ in time steps, so its files are read with dt_s=1."""
    return nir.LIF(tau=random.between(2, 20, n), r=full(n, 1), v_leak=full(n, 0), v_threshold=random.between(0.5, 2, n))


def test_convolutional_if_graphs_give_the_counts_and_membranes_of_sinabs(tmp_path):
    random = Weights(1, exact=True)
    graph = chain(
        (2, 8, 8), (5,),
        c=nir.Conv2d((8, 8), random(3, 2, 3, 3), 1, 1, 1, 1, random(3)), n1=if_layer((3, 8, 8), 0.75),
        p=nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        f=nir.Flatten({"input": np.array([3, 4, 4])}, 0, -1),
        a=nir.Affine(random(5, 48), random(5)), n2=if_layer(5),
    )  # fmt: skip
    x = random.spikes(40, 3, 2, 8, 8)
    ours = imported(graph, tmp_path, "sinabs", 1e-3)
    emitted = trace(ours, {"input": x})
    for name, (_, counts, membranes) in sinabs_run(graph, x, ["n1", "n2"]).items():
        np.testing.assert_array_equal(emitted.emitted[name], counts)
        np.testing.assert_array_equal(emitted.states[name]["v"], membranes)
        assert counts.max() > 1


def test_lif_graphs_give_the_counts_of_sinabs(tmp_path):
    """torch's exp is correct to one unit in the last place, so decays may differ by that, and membranes with them."""
    for seed in range(4):
        random = Weights(seed, exact=True)
        graph = chain(
            (20,), (8,),
            a=nir.Affine(random(16, 20), random(16)), n1=lif_layer(random, 16),
            b=nir.Affine(random(8, 16), random(8)), n2=lif_layer(random, 8),
        )  # fmt: skip
        x = random.spikes(60, 4, 20)
        ours = imported(graph, tmp_path, "sinabs", 1.0)
        emitted = trace(ours, {"input": x})
        for name, (_, counts, membranes) in sinabs_run(graph, x, ["n1", "n2"]).items():
            np.testing.assert_array_equal(emitted.emitted[name], counts)
            np.testing.assert_allclose(emitted.states[name]["v"], membranes, rtol=1e-4, atol=1e-5)
            assert counts.sum() > 100


def test_the_decay_is_that_of_torch_to_one_unit_in_the_last_place():
    from synfire.formats.nir.rates import rate

    tau = Weights(0, exact=False).between(1, 1000, 10000)
    theirs = torch.exp(-1.0 / torch.from_numpy(tau)).numpy()
    ours = rate(PRESETS["sinabs"].with_(dt_s=1.0), "decay", tau)
    assert np.max(np.abs(ours - theirs) / np.spacing(theirs)) <= 1
    assert np.mean(ours == theirs) > 0.9


def test_sinabs_own_layers_give_their_membranes(tmp_path):
    """ExpLeak (NIR's LI) through the import; LIF with `tau_syn`, which no import makes, by its attributes."""
    random = Weights(3, exact=False)
    x = random(50, 3, 4)
    node = nir.LI(tau=full(4, 10), r=full(4, 1), v_leak=full(4, 0))
    graph = imported(chain((4,), (4,), n=node), tmp_path, "sinabs", 1.0)
    layer = sinabs.ExpLeak(tau_mem=10.0, norm_input=False)
    with torch.no_grad():
        theirs = layer(torch.from_numpy(x).transpose(0, 1)).transpose(0, 1).numpy()
    np.testing.assert_allclose(run(graph, {"input": x})["output"], theirs, rtol=1e-5, atol=1e-6)
    layer = sinabs.LIF(tau_mem=10.0, tau_syn=5.0, spike_threshold=torch.tensor(0.75), norm_input=False)
    with torch.no_grad():
        theirs = layer(torch.from_numpy(x).transpose(0, 1)).transpose(0, 1).numpy()
    decays = [float(torch.exp(torch.tensor(-1.0 / tau))) for tau in (10.0, 5.0)]
    ours = CubaLIF(
        rate=decays[0], current_rate=decays[1], threshold=0.75, integration="decay", current_integration="decay_sum",
        reset="soft", spikes="multi",
    )  # fmt: skip
    counts, state = step_through(ours, x)
    np.testing.assert_array_equal(counts, theirs)
    np.testing.assert_array_equal(state["v"], layer.v_mem.numpy())
    assert counts.max() > 1


def event_frames(recordings, steps):
    """`(steps, recording, polarity, y, x)`: events of each millisecond counted, from each recording's start."""
    with np.load(data() / "nmnist" / "nmnist.npz") as archive:
        events = {key.removeprefix("test_"): archive[key] for key in archive.files if key.startswith("test_")}
    frames = np.zeros((steps, len(recordings), 2, 34, 34), np.float32)
    for row, recording in enumerate(recordings):
        span = slice(*events["offsets"][recording : recording + 2])
        at = ((events["t_us"][span] - events["t_us"][span][0]) // 1000).astype(np.int64)
        kept = at < steps
        index = (at, row, events["p"][span], events["y"][span], events["x"][span])
        np.add.at(frames, tuple(each[kept] if isinstance(each, np.ndarray) else each for each in index), 1)
    return frames, events["labels"][recordings]


def layer_alone(graph, name):
    """The synapses between the neuron layer `name` and the one before (or the input), as a graph of their own."""
    chain, source = [], graph.arriving(name)[0].source
    while source in graph.operators and graph.operator(source).kind != "DiscreteLIF":
        chain.insert(0, source)
        source = graph.arriving(source)[0].source
    start = source if source in graph.inputs else f"{source}.spikes"
    synapses = [Synapse(before, after) for before, after in zip([start, *chain], chain, strict=False)]
    alone = {each: graph.operator(each) for each in chain}
    return source, start, Graph(alone, tuple(synapses), {start: graph.signals()[source]}, {"current": chain[-1]})


def flips_of(neuron, currents, counts):
    """Where `neuron`, following the source's own counts, would emit other ones; each must be a matter of rounding."""
    v, threshold, flips = neuron.initial_state(currents.shape[1], Signal(currents.shape[2:]))["v"], 1.0, 0
    for current, count in zip(currents, counts, strict=True):
        h = neuron.charge(v, current)
        ours = neuron.step({"v": v}, current)[1]
        differs = ours != count
        ratio = h[differs] / threshold
        assert np.all(np.abs(ratio - np.rint(ratio)) < EPSILON), "a count differs by more than rounding"
        flips += int(differs.sum())
        v = np.maximum(h - count * threshold + 1, 0) - 1
    return flips


@pytest.mark.slow
def test_the_trained_network_gives_the_counts_of_sinabs_on_real_recordings():
    """A count differs only where H / θ lies within rounding of a whole number: counted in every layer, fed what sinabs' own
    layer before it emitted; and the whole network answers the same."""
    path = data() / "nir-graphs" / "cnn_sinabs.nir"
    graph = read_nir(path, discretisation="sinabs", dt_s=1e-3)
    frames, labels = event_frames(np.arange(100), 300)
    neurons = [name for name in graph.order() if graph.operator(name).kind == "DiscreteLIF"]
    answers = {"synfire": [], "sinabs": []}
    spikes = flips = at_the_end = 0
    for batch in np.array_split(np.arange(100), 10):
        x = np.ascontiguousarray(frames[:, batch])
        theirs = sinabs_run(nir.read(path), x, neurons)
        for name in neurons:
            source, start, alone = layer_alone(graph, name)
            arriving = x if source == "input" else theirs[source][1].astype(graph.signals()[source].kind.dtype)
            currents = cpu_run(alone, {start: arriving})["current"]
            flips += flips_of(graph.operator(name), currents, theirs[name][1])
            spikes += int(theirs[name][1].sum())
        ours, last = cpu_run(graph, {"input": x})["output"], theirs[neurons[-1]][1]
        at_the_end += int(np.sum(ours != last))
        answers["synfire"].append(ours.sum(0).argmax(-1))
        answers["sinabs"].append(last.sum(0).argmax(-1))
    accuracy = {name: float(np.mean(np.concatenate(each) == labels)) for name, each in answers.items()}
    print(
        f"cnn_sinabs.nir on {len(labels)} recordings: accuracy {accuracy}; {flips} flips among {spikes} spikes of all "
        f"layers; {at_the_end} output counts differ end to end"
    )
    assert np.array_equal(np.concatenate(answers["synfire"]), np.concatenate(answers["sinabs"]))
    assert flips <= 1e-5 * spikes
    assert accuracy["synfire"] >= 0.9


def cpu_run(graph, inputs):
    program = ENGINES["cpu"]().build(graph)
    arrays = [np.ascontiguousarray(each) for each in inputs.values()]
    steps, batch = arrays[0].shape[:2]
    return program.run(program.initial_state(batch), dict(zip(inputs, arrays, strict=True)), steps)[1]


def test_what_sinabs_leaves_out_is_a_loss_to_be_named(tmp_path):
    graph = chain((4,), (4,), n=nir.IF(r=full(4, 2), v_threshold=full(4, 1)))
    with pytest.raises(LossyImport, match="allow='r'"):
        imported(graph, tmp_path, "sinabs", 1e-3)
    with pytest.raises(UserError, match="dt_s"):
        read_nir(tmp_path / "graph.nir", discretisation="sinabs")


def test_an_exported_network_gives_its_own_counts(tmp_path):
    from sinabs.nir import to_nir

    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(2, 3, 3), sinabs.IAFSqueeze(batch_size=2, min_v_mem=-1.0), sinabs.SumPool2d(2),
        torch.nn.Flatten(), torch.nn.Linear(27, 5), sinabs.IAFSqueeze(batch_size=2, min_v_mem=-1.0),
    )  # fmt: skip
    x = Weights(1, exact=True).spikes(30, 2, 2, 8, 8)
    flat = torch.from_numpy(np.ascontiguousarray(x.swapaxes(0, 1)).reshape(60, 2, 8, 8))
    with torch.no_grad():
        network[0].weight.copy_(torch.round(network[0].weight * 64) / 16)
        network[0].bias.copy_(torch.round(network[0].bias * 64) / 16)
        network[4].weight.copy_(torch.round(network[4].weight * 64) / 16)
        network[4].bias.copy_(torch.round(network[4].bias * 64) / 16)
        exported = to_nir(network, flat)
        exported.infer_types()  # without it the convolution has no input shape, and nir.write fails
        nir.write(tmp_path / "exported.nir", exported)
        for layer in (network[1], network[5]):
            layer.reset_states()
        theirs = network(flat).numpy().reshape(2, 30, 5).swapaxes(0, 1)
    ours = read_nir(tmp_path / "exported.nir", discretisation="sinabs", dt_s=1e-3)
    (output,) = run(ours, {next(iter(ours.inputs)): x}).values()
    np.testing.assert_array_equal(output, theirs)
    assert theirs.max() > 1
