"""The preset `spikingjelly` against SpikingJelly 2.0.0's NIR import."""

import nir
import numpy as np
import pytest
from sources import Weights, chain, full, imported, listen, replay, same_run

from synfire.base.errors import LossyImport

pytestmark = pytest.mark.parity
torch = pytest.importorskip(
    "torch", reason="the parity environment is not installed (tests/parity/requirements-nir.txt)"
)
exchange = pytest.importorskip(
    "spikingjelly.activation_based.nir_exchange.from_nir",
    reason="SpikingJelly 2.0 with nir and nirtorch is not installed (tests/parity/requirements-nir.txt)",
)

DT_S = 1e-3


def spikingjelly_run(graph, x, names):
    network = exchange.import_from_nir(graph, dt=DT_S)
    heard, state = listen({name: getattr(network, name) for name in names}), None
    with torch.no_grad():
        for frame in torch.from_numpy(x):
            _, state = network(frame, state)
    found = {}
    for name, (inputs, outputs) in heard.items():
        membranes = [next(iter(new)).numpy() for _, new in outputs]
        found[name] = (np.stack(inputs), np.stack([out.numpy() for out, _ in outputs]), np.stack(membranes))
    return found


def decaying(n):
    return nir.LIF(
        tau=full(n, 2e-3), r=full(n, 1), v_leak=full(n, -0.25), v_threshold=full(n, 0.5), v_reset=full(n, -0.25)
    )


def adding(n):
    return nir.LIF(tau=full(n, 5e-3), r=full(n, 5), v_leak=full(n, 0), v_threshold=full(n, 1))


def integrating(n):
    return nir.IF(r=full(n, 1 / DT_S), v_threshold=full(n, 1), v_reset=full(n, 0.25))


def cuba(n):
    return nir.CubaLIF(
        tau_syn=full(n, 4e-3), tau_mem=full(n, 5e-3), r=full(n, 5), v_leak=full(n, 0), v_threshold=full(n, 3),
        w_in=full(n, 4),
    )  # fmt: skip


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("neuron", [decaying, adding, integrating, cuba])
def test_feed_forward_graphs_give_the_spikes_and_membranes_of_spikingjelly(neuron, exact, tmp_path):
    random = Weights(3, exact)
    graph = chain(
        (20,), (8,),
        a=nir.Affine(random(16, 20), random(16)), n1=neuron(16), b=nir.Affine(random(8, 16), random(8)), n2=neuron(8),
    )  # fmt: skip
    x = random.spikes(80, 4, 20)
    ours = imported(graph, tmp_path, "spikingjelly", DT_S)
    theirs = spikingjelly_run(graph, x, ["n1", "n2"])
    for name, (currents, spikes, membranes) in theirs.items():
        replayed, _, states, _ = replay(ours, name, currents)
        np.testing.assert_array_equal(replayed, spikes)
        np.testing.assert_array_equal(np.stack([state["v"] for state in states]), membranes)
    same_run(ours, x, {name: (i, s) for name, (i, s, _) in theirs.items()}, exact)


def test_a_resistance_that_spikingjelly_refuses_is_a_loss_to_be_named(tmp_path):
    graph = chain((4,), (4,), n=nir.LIF(tau=full(4, 2e-3), r=full(4, 3), v_leak=full(4, 0), v_threshold=full(4, 1)))
    with pytest.raises(ValueError, match="must equal 1 or tau / dt"):
        exchange.import_from_nir(graph, dt=DT_S)
    with pytest.raises(LossyImport, match="allow='r'"):
        imported(graph, tmp_path, "spikingjelly", DT_S)
