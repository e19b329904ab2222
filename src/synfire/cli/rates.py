"""How many requests a second each model is to bear, as `synfire serve` is told."""

from __future__ import annotations

from collections.abc import Sequence

from synfire.base.errors import UnknownName, UserError
from synfire.plan.plan import MOST_RATE
from synfire.zoo import Model


def rated(models: Sequence[Model], given: Sequence[str]) -> dict[str, float]:
    """`MODEL=N` as numbers by model. Raises `UserError` for another form, `UnknownName` for another model."""
    names, found = [each.name for each in models], dict[str, float]()
    for each in given:
        model, _, number = each.rpartition("=")
        try:
            rate = float(number)
        except ValueError:
            rate = 0.0
        if not model or not 0 < rate <= MOST_RATE:
            raise UserError(
                f"--rate {each} is not MODEL=N, such as {names[0] if names else 'net'}=20; N is above 0, and {MOST_RATE:.0f} at most"
            )
        if model not in names:
            raise UnknownName.among("model", model, names)
        if model in found:
            raise UserError(f"--rate names model {model} twice; give it one")
        found[model] = rate
    return found
