"""One LIF neuron, as nine platforms ran it for the NIR paper (doi:10.1038/s41467-024-52259-9)."""

import numpy as np
import pytest

from synfire.base.errors import UserError
from synfire.base.paths import data
from synfire.formats.discretisation import PRESETS
from synfire.formats.nir import read_nir
from synfire.graph.reference import trace

DT_S = 1e-4


@pytest.fixture(scope="module")
def folder():
    try:
        return data() / "nir-graphs"
    except UserError as error:
        pytest.skip(f"the recordings are not here: {error}")


def recorded(folder, platform):
    """(input, membrane, spikes), each `(1000,)`."""
    return np.loadtxt(folder / f"lif_{platform}.csv", delimiter=",").T


def ours(folder, choice):
    """(membrane, spikes) of the imported graph; the input is the one that Norse recorded."""
    graph = read_nir(folder / "lif_norse.nir", discretisation=choice, dt_s=DT_S, allow="r")
    x = recorded(folder, "norse")[0].astype(np.float32)[:, None, None]
    neuron, state, membranes, spikes = graph.operator("1"), None, [], []
    currents = trace(graph, {"input": x}).emitted["0"]
    state = neuron.initial_state(1, *graph.signals_into("1"))
    for current in currents:
        state, out = neuron.step(state, current)
        membranes.append(float(state["v"][0, 0]))
        spikes.append(int(out[0, 0]))
    return np.array(membranes), np.array(spikes)


@pytest.mark.parametrize("platform", ["exact", "nengo", "norse", "snntorch", "spinnaker2"])
@pytest.mark.parametrize("preset", ["euler", "exponential", "norse", "snntorch", "spikingjelly"])
def test_presets_give_the_spikes_of_the_platforms_that_agree(preset, platform, folder):
    assert np.array_equal(ours(folder, preset)[1], recorded(folder, platform)[2])


def test_norse_and_snntorch_are_given_to_the_digits_that_their_files_hold(folder):
    """Norse's file holds the membrane as its float32 printed; snnTorch's membrane is in units of dt·R/τ."""
    membrane, _ = ours(folder, "norse")
    np.testing.assert_allclose(membrane, recorded(folder, "norse")[1], rtol=1e-6, atol=1e-9)
    membrane, _ = ours(folder, "snntorch")
    np.testing.assert_allclose(membrane, recorded(folder, "snntorch")[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("platform", ["sinabs", "rockpool"])
def test_sinabs_and_rockpool_decay_exactly_but_take_eulers_input(platform, folder):
    """V ← exp(−dt/τ)·V + (dt/τ)·R·X with a soft reset; the choice keeps the input whole and divides the threshold."""
    choice = PRESETS["sinabs"].with_(resistance="threshold", spikes="single")
    membrane, spikes = ours(folder, choice)
    theirs = recorded(folder, platform)
    assert np.array_equal(spikes, theirs[2])
    np.testing.assert_allclose(membrane * DT_S / 2.5e-3, theirs[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("platform", ["lava_cpu_fixed", "spyx"])
def test_lava_and_spyx_spike_one_step_later(platform, folder):
    _, spikes = ours(folder, "euler")
    assert np.array_equal(np.flatnonzero(spikes) + 1, np.flatnonzero(recorded(folder, platform)[2]))
