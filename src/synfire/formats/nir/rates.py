"""Time constants to rates per step, with each framework's own rounding, and back."""

from __future__ import annotations

import numpy as np

from synfire.base.errors import UserError
from synfire.formats.discretisation import Discretisation
from synfire.ops.membrane import RELAX, RELAX_LEAK_FIRST, f32
from synfire.ops.signal import Array

_ULPS = range(-4, 5)


def rate(choice: Discretisation, form: str, tau_s: Array) -> Array:
    """The float32 rate of a membrane or current with time constant `tau_s`; see `synfire.ops.membrane.integrate`."""
    dt_s, relaxes = choice.step_s, form in (RELAX, RELAX_LEAK_FIRST)
    if choice.integrator == "exponential":
        if relaxes:
            return f32(-np.expm1(-dt_s / np.asarray(tau_s, np.float64)))
        steps = f32(np.asarray(tau_s, np.float64) / dt_s)
        return f32(np.exp(np.asarray(np.float32(-1) / steps, np.float64)))
    if relaxes:
        return f32(np.float32(dt_s) * (np.float32(1) / f32(tau_s)))
    wide = tau_s if choice.rates_in == "file" else np.asarray(tau_s, np.float64)
    return f32(np.maximum(1 - dt_s / wide, 0))


def time_constant(choice: Discretisation, form: str, wanted: Array) -> Array:
    """A time constant in seconds whose `rate` is `wanted`, bit for bit: float32 where possible, else float64.

    Raises `UserError` for a rate that no finite time constant gives.
    """
    guess = np.asarray(_guess(choice, form, np.asarray(wanted, np.float64)))
    if not np.isfinite(guess).all() or np.any(guess <= 0):
        raise UserError(f"a rate of {np.asarray(wanted).ravel()[0]} per step is that of no finite time constant")
    narrow = f32(guess)
    for ulps in sorted(_ULPS, key=abs):
        tried = narrow + np.float32(ulps) * np.spacing(narrow)
        fits = rate(choice, form, tried) == wanted
        narrow = np.where(rate(choice, form, narrow) == wanted, narrow, np.where(fits, tried, narrow))
    return narrow if np.all(rate(choice, form, narrow) == wanted) else guess


def _guess(choice: Discretisation, form: str, wanted: Array) -> Array:
    relaxes, dt_s = form in (RELAX, RELAX_LEAK_FIRST), choice.step_s
    with np.errstate(divide="ignore", invalid="ignore"):
        if choice.integrator == "exponential":
            return -dt_s / (np.log1p(-wanted) if relaxes else np.log(wanted))
        return dt_s / (wanted if relaxes else 1 - wanted)
