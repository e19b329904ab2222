"""The presets `snntorch` and `snntorch-delayed` against snnTorch 1.0.0: its NIR import, and its own layers."""

import itertools

import nir
import numpy as np
import pytest
from sources import Weights, chain, full, imported, listen, same_neuron, same_run

from synfire.base.errors import LossyImport
from synfire.base.paths import data
from synfire.formats.discretisation import PRESETS
from synfire.formats.nir import read_nir
from synfire.graph.reference import trace
from synfire.ops.discrete_lif import DiscreteLIF

pytestmark = pytest.mark.parity
torch = pytest.importorskip(
    "torch", reason="the parity environment is not installed (tests/parity/requirements-nir.txt)"
)
snn = pytest.importorskip("snntorch", reason="snnTorch is not installed (tests/parity/requirements-nir.txt)")

DT_S = 1e-4
"""snnTorch's import and export have this time step written into them."""


def snntorch_run(graph, x, names):
    """snnTorch's own run of a NIR graph: per neuron layer (input, spikes, membranes)."""
    from snntorch.import_nir import import_from_nir

    network = import_from_nir(graph)
    layers = {name: getattr(network, name) for name in names}
    heard, membranes, state = listen(layers), {name: [] for name in names}, None
    with torch.no_grad():
        for frame in torch.from_numpy(x):
            _, state = network(frame) if state is None else network(frame, state)
            for name, layer in layers.items():
                membranes[name].append(layer.mem.numpy().copy())
    return {
        name: (np.stack(inputs), np.stack([out.numpy() for out in outputs]), np.stack(membranes[name]))
        for name, (inputs, outputs) in heard.items()
    }


def lif(random, n):
    """Parameters as snnTorch's export writes them: any beta per neuron, one threshold."""
    beta = random.between(0.5, 0.98, n)
    tau = np.float32(DT_S) / (1 - beta)
    return nir.LIF(tau=tau, r=tau / np.float32(DT_S), v_leak=full(n, 0), v_threshold=full(n, 1.25))


def scaled_lif(random, n):
    """With r = 1 the import divides the threshold by dt/τ instead of scaling the input."""
    return nir.LIF(tau=full(n, 1e-3), r=full(n, 1), v_leak=full(n, 0), v_threshold=full(n, 0.15))


def cuba(random, n):
    tau_syn, tau_mem = random.between(2e-4, 2e-3), random.between(2e-4, 2e-3)
    return nir.CubaLIF(
        tau_syn=full(n, tau_syn), tau_mem=full(n, tau_mem), r=full(n, tau_mem / np.float32(DT_S)), v_leak=full(n, 0),
        v_threshold=full(n, 3.0), w_in=full(n, tau_syn / np.float32(DT_S)),
    )  # fmt: skip


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("neuron", [lif, scaled_lif, cuba])
def test_feed_forward_graphs_give_the_spikes_and_membranes_of_snntorch(neuron, exact, tmp_path):
    for seed in range(5):
        random = Weights(seed, exact)
        graph = chain(
            (20,), (8,),
            a=nir.Affine(random(16, 20), random(16)), n1=neuron(random, 16),
            b=nir.Affine(random(8, 16), random(8)), n2=neuron(random, 8),
        )  # fmt: skip
        x = random.spikes(80, 4, 20)
        ours = imported(graph, tmp_path, "snntorch", DT_S)
        theirs = snntorch_run(graph, x, ["n1", "n2"])
        for name, (currents, spikes, membranes) in theirs.items():
            same_neuron(ours, name, currents, spikes, membranes)
        same_run(ours, x, {name: (i, s) for name, (i, s, _) in theirs.items()}, exact)


@pytest.mark.parametrize(("mechanism", "delayed"), list(itertools.product(["zero", "subtract", "none"], [True, False])))
def test_every_reset_of_leaky_has_its_attributes(mechanism, delayed):
    """Leaky resets to zero before the delayed charge and subtracts after it; without delay it corrects itself."""
    reset = {"zero": "hard", "subtract": "soft", "none": "none"}[mechanism]
    reset_at = {("hard", True): "before_charge", ("soft", True): "after_charge", ("soft", False): "twice"}
    random = Weights(11, exact=False)
    beta, x = random.between(0.5, 0.98, 6), random(100, 3, 6)
    layer = snn.Leaky(beta=torch.from_numpy(beta), threshold=0.75, reset_mechanism=mechanism, reset_delay=delayed)
    ours = DiscreteLIF(
        rate=beta, threshold=0.75, integration="decay", reset=reset, reset_at=reset_at.get((reset, delayed), "fire")
    )
    same_steps(ours, x, lambda frame, mem: layer(frame, mem))


def test_the_import_of_if_is_a_leaky_neuron_with_a_soft_reset():
    """A defect of snnTorch 1.0.0 that the preset does not repeat, but that its choices can say."""
    from snntorch.import_nir import _nir_to_snntorch_module

    node = nir.IF(r=full(4, 1), v_threshold=full(4, 0.75))
    layer = _nir_to_snntorch_module(node)
    assert float(layer.beta) == pytest.approx(0.9)
    ours = DiscreteLIF(rate=0.9, threshold=0.75, integration="decay", reset="soft", reset_at="twice")
    same_steps(ours, Weights(2, exact=False)(100, 3, 4), lambda frame, mem: layer(frame, mem))
    choice = PRESETS["snntorch"].with_(if_rate=0.9, reset="soft", reset_at="twice")
    assert choice.if_rate == 0.9


def same_steps(ours, x, step):
    from synfire.ops import Signal

    state, mem, fired = ours.initial_state(x.shape[1], Signal(x.shape[2:])), torch.zeros(x.shape[1:]), 0
    for frame in x:
        spikes, mem = step(torch.from_numpy(frame), mem)
        state, out = ours.step(state, frame)
        np.testing.assert_array_equal(out, spikes.detach().numpy())
        np.testing.assert_array_equal(state["v"], mem.detach().numpy())
        fired += int(out.sum())
    assert fired > 20


def braille_path():
    return data() / "nir-graphs" / "braille_noDelay_bias_zero.nir"


def layer_of(kind, node, **options):
    """A snnTorch layer with the numbers that its import computes from a CubaLIF."""
    return kind(
        alpha=float(np.unique(1 - DT_S / node.tau_syn)[0]), beta=float(np.unique(1 - DT_S / node.tau_mem)[0]),
        threshold=float(np.unique(node.v_threshold)[0]), reset_mechanism="zero", **options,
    )  # fmt: skip


def dense(node):
    layer = torch.nn.Linear(*reversed(node.weight.shape))
    layer.weight.data, layer.bias.data = torch.from_numpy(node.weight), torch.from_numpy(node.bias)
    return layer


def test_the_braille_network_gives_the_spikes_of_snntorch_with_delayed_reset():
    """snnTorch 1.0.0 cannot import a recurrent graph, and RSynaptic without reset delay fails on a name of its own; so
    its layers run here as the import would join them."""
    x = Weights(5, exact=False).spikes(256, 32, 12, rate=0.1)
    nodes, first, again, second = braille_layers()
    middle = layer_of(snn.RSynaptic, nodes["lif1.lif"], linear_features=38, init_hidden=True)
    middle.recurrent = again
    last = layer_of(snn.Synaptic, nodes["lif2"], init_hidden=True)
    hidden, output = [], []
    with torch.no_grad():
        for frame in torch.from_numpy(x):
            hidden.append(middle(first(frame)))
            output.append(last(second(hidden[-1])))
    compare_braille("snntorch-delayed", x, hidden, output)


def test_the_braille_network_gives_the_spikes_of_snntorch():
    x = Weights(6, exact=False).spikes(256, 32, 12, rate=0.1)
    nodes, first, again, second = braille_layers()
    middle = layer_of(snn.Synaptic, nodes["lif1.lif"], init_hidden=True, reset_delay=False)
    last = layer_of(snn.Synaptic, nodes["lif2"], init_hidden=True, reset_delay=False)
    hidden, output = [], []
    with torch.no_grad():
        for frame in torch.from_numpy(x):
            spikes = hidden[-1] if hidden else torch.zeros(32, 38)
            hidden.append(middle(first(frame) + again(spikes)))
            output.append(last(second(hidden[-1])))
    compare_braille("snntorch", x, hidden, output)


def braille_layers():
    nodes = nir.read(braille_path(), type_check=False).nodes
    return nodes, dense(nodes["fc1"]), dense(nodes["lif1.w_rec"]), dense(nodes["fc2"])


def compare_braille(preset, x, hidden, output):
    """Both neuron layers against the source's spikes; its membranes follow from its own spikes."""
    _, first, again, second = braille_layers()
    graph = read_nir(braille_path(), discretisation=preset, dt_s=DT_S)
    before = torch.stack([torch.zeros_like(hidden[0]), *hidden[:-1]])
    with torch.no_grad():
        currents = {
            "lif1.lif": (first(torch.from_numpy(x)) + again(before)).numpy(),
            "lif2": second(torch.stack(hidden)).numpy(),
        }
    layers = {
        name: (currents[name], torch.stack(spikes).numpy()) for name, spikes in (("lif1.lif", hidden), ("lif2", output))
    }
    flips = same_run(graph, x, layers, exact=False)
    print(f"braille, {preset}: {flips} flips among {sum(int(s.sum()) for _, s in layers.values())} spikes")


def test_convolutions_run_in_snntorchs_own_layers(tmp_path):
    """Its import fails on them (an IF returns a tuple that Flatten cannot take), so its layers are called one by one."""
    random = Weights(4, exact=True)
    shape = (3, 6, 6)
    node = nir.LIF(tau=full(shape, 1e-3), r=full(shape, 10), v_leak=full(shape, 0), v_threshold=full(shape, 1.5))
    convolution = nir.Conv2d((8, 8), random(3, 2, 3, 3), 1, 0, 1, 1, random(3))
    pool = nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))
    graph = chain((2, 8, 8), (3, 3, 3), c=convolution, n=node, p=pool)
    ours = imported(graph, tmp_path, "snntorch", DT_S)
    x = random.spikes(50, 3, 2, 8, 8)
    emitted = trace(ours, {"input": x}).emitted
    leaky = snn.Leaky(beta=0.9, threshold=1.5, reset_mechanism="zero", reset_delay=False, init_hidden=True)
    with torch.no_grad():
        for t, frame in enumerate(torch.from_numpy(x)):
            current = torch.nn.functional.conv2d(
                frame, torch.from_numpy(convolution.weight), torch.from_numpy(convolution.bias)
            )
            spikes = leaky(current)
            np.testing.assert_array_equal(emitted["n"][t], spikes.numpy())
            np.testing.assert_array_equal(emitted["p"][t], torch.nn.functional.avg_pool2d(spikes, 2).numpy())
    assert emitted["n"].sum() > 100


@pytest.mark.parametrize(("field", "value"), [("v_leak", 0.25), ("v_reset", -0.5)])
def test_what_snntorch_leaves_out_is_a_loss_to_be_named(field, value, tmp_path):
    fields = {"tau": full(4, 1e-3), "r": full(4, 10), "v_leak": full(4, 0), "v_threshold": full(4, 1.0)}
    graph = chain((4,), (4,), n=nir.LIF(**{**fields, field: full(4, value)}))
    with pytest.raises(LossyImport, match=f"allow='{field}'"):
        imported(graph, tmp_path, "snntorch", DT_S)
    assert imported(graph, tmp_path, "snntorch", DT_S, allow=field).operator("n").kind == "DiscreteLIF"


def leaky(beta, threshold, n):
    return snn.Leaky(beta=torch.full((n,), beta), threshold=torch.full((n,), threshold), init_hidden=True)


def test_an_exported_network_gives_its_own_spikes_once_its_reset_is_named(tmp_path):
    """snnTorch's export writes neither its reset mechanism nor its delay into NIR, so whoever imports must say them. (A
    beta whose 1 − beta is no power of two comes back from any NIR file with another last bit.)"""
    from snntorch.export_nir import export_to_nir

    torch.manual_seed(0)
    layers = [
        torch.nn.Linear(12, 10), leaky(0.75, 0.5, 10), torch.nn.Linear(10, 6), leaky(0.875, 0.25, 6),
    ]  # fmt: skip
    path = tmp_path / "exported.nir"
    nir.write(path, export_to_nir(torch.nn.Sequential(*layers), torch.zeros(1, 12), ignore_dims=[0]))
    choice = PRESETS["snntorch"].with_(reset="soft", reset_at="after_charge")
    ours = read_nir(path, discretisation=choice, dt_s=DT_S)
    x = Weights(0, exact=False).spikes(80, 4, 12, rate=0.5)
    layers[1].reset_mem()
    layers[3].reset_mem()
    names = [name for name in ours.order() if ours.operator(name).kind == "DiscreteLIF"]
    heard, network = listen({names[0]: layers[1], names[1]: layers[3]}), torch.nn.Sequential(*layers)
    with torch.no_grad():
        for frame in torch.from_numpy(x):
            network(frame)
    recorded = {name: (np.stack(i), np.stack([out.numpy() for out in o])) for name, (i, o) in heard.items()}
    same_run(ours, x, recorded, exact=False)
