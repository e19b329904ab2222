"""IF, ParametricLIF, DiscreteLIF, CubaLIF, CubaLI, LeakyIntegrator and ALIF against their equations, number by number."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synfire.base.errors import UserError
from synfire.ops import Kind, Signal
from synfire.ops.alif import ALIF
from synfire.ops.cuba_li import CubaLI
from synfire.ops.cuba_lif import CubaLIF
from synfire.ops.discrete_lif import DiscreteLIF
from synfire.ops.if_ import IF
from synfire.ops.leaky_integrator import LeakyIntegrator
from synfire.ops.parametric_lif import ParametricLIF, sigmoid

f = np.float32
LENGTH = 40


def run(neuron, currents):
    """What one neuron emits for a list of currents, and its states."""
    state, outputs, states = neuron.initial_state(1, Signal((1,))), [], []
    for current in currents:
        state, out = neuron.step(state, np.array([[current]], np.float32))
        outputs.append(out[0, 0])
        states.append({name: array[0, 0] for name, array in state.items()})
    return outputs, states


currents = st.lists(st.floats(-2, 3, width=32), min_size=1, max_size=LENGTH)
unit = st.floats(0.015625, 1, width=32)


@given(currents, st.sampled_from(["hard", "soft"]), st.booleans(), st.floats(-0.5, 0.5, width=32))
def test_if_adds_its_input_fires_and_resets(xs, reset, strict, v_reset):
    outputs, states = run(IF(threshold=1.0, v_reset=v_reset, reset=reset, strict=strict), xs)
    v = f(v_reset) if reset == "hard" else f(0)
    for x, out, state in zip(xs, outputs, states, strict=True):
        h = f(v + f(x))
        spike = h > 1 if strict else h >= 1
        v = (f(v_reset) if reset == "hard" else f(h - f(1))) if spike else h
        assert (out, state["v"]) == (spike, v)


@given(currents, unit, st.booleans(), st.sampled_from(["hard", "soft"]))
def test_parametric_lif_moves_by_its_learned_rate(xs, q, decay_input, reset):
    outputs, states = run(ParametricLIF(inv_tau=q, v_reset=-0.25, decay_input=decay_input, reset=reset), xs)
    rest = f(-0.25) if reset == "hard" else f(0)
    v = rest
    for x, out, state in zip(xs, outputs, states, strict=True):
        x = f(x)
        h = f(v + f(f(x - f(v - rest)) * f(q))) if decay_input else f(f(v - f(f(v - rest) * f(q))) + x)
        v = (rest if reset == "hard" else f(h - f(1))) if h >= 1 else h
        assert (out, state["v"]) == (h >= 1, v)


def test_a_learned_w_is_a_rate_between_0_and_1():
    assert sigmoid(0.0) == np.float32(0.5)
    assert ParametricLIF.from_w(np.float32(1.5)).inv_tau == sigmoid(1.5)
    with pytest.raises(UserError, match="from_w"):
        ParametricLIF(inv_tau=1.5)


def charge(form, v, x, rate, rest):
    if form == "relax":
        return f(v + f(rate * f(f(x + rest) - v)))
    if form == "relax_leak_first":
        return f(v + f(rate * f(f(rest - v) + x)))
    if form == "decay":
        return f(f(rate * v) + x)
    return f(rate * f(v + x))


FORMS = st.sampled_from(["relax", "relax_leak_first", "decay", "decay_sum"])


@settings(max_examples=200)
@given(currents, FORMS, unit, st.sampled_from(["hard", "soft", "none"]), st.booleans(), st.floats(0.25, 4, width=32))
def test_discrete_lif_charges_fires_and_resets_at_once(xs, form, rate, reset, strict, gain):
    rest = 0.0 if form.startswith("decay") else 0.125
    neuron = DiscreteLIF(
        rate=rate, gain=gain, v_leak=rest, v_start=rest, v_reset=-0.5, integration=form, reset=reset, strict=strict
    )
    outputs, states = run(neuron, xs)
    v = f(rest)
    for x, out, state in zip(xs, outputs, states, strict=True):
        h = charge(form, v, f(f(gain) * f(x)), f(rate), f(rest))
        spike = h > 1 if strict else h >= 1
        v = {"hard": f(-0.5), "soft": f(h - f(1)), "none": h}[reset] if spike else h
        assert (out, state["v"]) == (spike, v)


@given(currents, unit, st.sampled_from(["before_charge", "after_charge"]), st.sampled_from(["hard", "soft"]))
def test_a_delayed_reset_waits_for_the_next_step(xs, rate, reset_at, reset):
    outputs, states = run(DiscreteLIF(rate=rate, integration="decay", reset_at=reset_at, reset=reset), xs)
    v = f(0)
    for x, out, state in zip(xs, outputs, states, strict=True):
        over = v > 1
        if over and reset_at == "before_charge":
            v = f(0) if reset == "hard" else f(v - f(1))
        v = charge("decay", v, f(x), f(rate), f(0))
        if over and reset_at == "after_charge":
            v = f(0) if reset == "hard" else f(v - f(1))
        assert (out, state["v"]) == (v > 1, v)


@given(currents, unit)
def test_a_reset_done_twice_corrects_itself_by_the_difference(xs, rate):
    outputs, states = run(DiscreteLIF(rate=rate, integration="decay", reset_at="twice", reset="soft"), xs)
    v = f(0)
    for x, out, state in zip(xs, outputs, states, strict=True):
        over = f(v > 1)
        h = f(charge("decay", v, f(x), f(rate), f(0)) - over)
        v = f(h - f(f(h > 1) - over))
        assert (out, state["v"]) == (h > 1, v)


@given(currents, st.sampled_from(["hard", "soft"]), st.sampled_from([None, -0.5]))
def test_several_spikes_a_step_are_counted_and_the_membrane_has_a_floor(xs, reset, low):
    neuron = DiscreteLIF(rate=1.0, integration="decay", threshold=0.375, spikes="multi", reset=reset, v_min=low)
    outputs, states = run(neuron, xs)
    assert neuron.infer(Signal((1,))).kind is Kind.COUNT
    v = f(0)
    for x, out, state in zip(xs, outputs, states, strict=True):
        h = f(v + f(x))
        count = int(f(h / f(0.375))) if h > 0 else 0
        v = f(h - f(f(count) * f(0.375))) if reset == "soft" else (f(0) if count else h)
        if low is not None:
            v = f(max(f(v - f(low)), f(0)) + f(low))
        assert (out, state["v"]) == (count, v)


@settings(max_examples=200)
@given(currents, FORMS, FORMS, unit, unit, st.sampled_from(["current_first", "membrane_first", "jump"]))
def test_a_synaptic_current_drives_the_membrane_in_the_order_named(xs, form, current_form, rate, current_rate, order):
    fields = {
        "rate": rate, "current_rate": current_rate, "integration": form, "current_integration": current_form,
        "order": order, "w_in": 1.5, "gain": 2.0,
    }  # fmt: skip
    fired, states = run(CubaLIF(**fields, threshold=0.5), xs)
    membranes, _ = run(CubaLI(**fields), xs)
    v = free = i = f(0)
    for x, out, state, membrane in zip(xs, fired, states, membranes, strict=True):
        drive = f(f(1.5) * f(x))
        if order == "jump":
            acting = f(i + drive)
            i = f(acting + f(-f(current_rate) * acting))
        else:
            moved = charge(current_form, i, drive, f(current_rate), f(0))
            acting, i = (moved if order == "current_first" else i), moved
        h = charge(form, v, f(f(2) * acting), f(rate), f(0))
        free = charge(form, free, f(f(2) * acting), f(rate), f(0))
        v = f(0) if h > f(0.5) else h
        assert (out, state["v"], state["i"], membrane) == (h > f(0.5), v, i, free)


@given(currents, FORMS, unit)
def test_a_leaky_integrator_emits_its_membrane(xs, form, rate):
    outputs, _ = run(LeakyIntegrator(rate=rate, gain=0.5, integration=form), xs)
    v = f(0)
    for x, out in zip(xs, outputs, strict=True):
        v = charge(form, v, f(f(0.5) * f(x)), f(rate), f(0))
        assert out == v


@given(currents, unit, unit, st.booleans())
def test_alif_raises_its_threshold_by_its_own_spikes(xs, alpha, rho, strict):
    outputs, states = run(ALIF(alpha=alpha, rho=rho, b0=0.25, beta=1.8, strict=strict), xs)
    u = b = s = f(0)
    alpha, rho = f(alpha), f(rho)
    for x, out, state in zip(xs, outputs, states, strict=True):
        b = f(f(rho * b) + f(f(f(1) - rho) * s))
        threshold = f(f(0.25) + f(f(1.8) * b))
        u = f(f(f(alpha * u) + f(f(f(1) - alpha) * f(x))) - f(threshold * s))
        s = f(u > threshold if strict else u >= threshold)
        assert (out, state["u"], state["b"], state["s"]) == (s, u, b, s)


@pytest.mark.parametrize(
    ("make", "cure"),
    [
        (lambda: IF(reset="sideways"), "choose one of 'hard', 'soft'"),
        (lambda: DiscreteLIF(integration="runge-kutta"), "choose one of"),
        (lambda: DiscreteLIF(integration="decay", v_leak=0.5), "use 'relax'"),
        (lambda: DiscreteLIF(reset_at="twice"), "use 'fire'"),
        (lambda: DiscreteLIF(spikes="multi", threshold=0.0), "a threshold above 0"),
        (lambda: CubaLIF(order="jump", current_leak=0.5), "set it to 0"),
        (lambda: CubaLI(order="late"), "choose one of 'current_first'"),
        (lambda: LeakyIntegrator(rate=np.array([0.5, np.nan], np.float32)), "train or export the model again"),
        (lambda: DiscreteLIF(threshold=np.ones(3, np.float32)).infer(Signal((2,))), "DiscreteLIF.threshold"),
        (lambda: ALIF(rho=np.ones((4, 2), np.float32)).infer(Signal((2,))), "ALIF.rho"),
    ],
)
def test_contradictions_are_refused_with_their_cure(make, cure):
    with pytest.raises(UserError, match=cure):
        make()


def test_parameters_are_per_neuron_where_arrays_are_given():
    neuron = DiscreteLIF(rate=1.0, integration="decay", threshold=np.array([1, 2, 3], np.float32))
    state, spikes = neuron.step(neuron.initial_state(2, Signal((3,))), np.full((2, 3), 2.5, np.float32))
    assert spikes.tolist() == [[1, 1, 0]] * 2
    assert state["v"].tolist() == [[0, 0, 2.5]] * 2
