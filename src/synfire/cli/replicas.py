"""How many replicas of each model `synfire serve` is to run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from synfire.base.errors import UnknownName, UserError
from synfire.store.names import replica
from synfire.zoo import Model


def replicated(models: Sequence[Model], given: Sequence[str]) -> list[Model]:
    """The models with their replicas, by `[MODEL=]N`; a model may say itself how many are usual. Raises `UserError` for another form, `UnknownName` for another model."""
    names = [each.name for each in models]
    counts: dict[str, int] = {}
    for each in given:
        name, _, number = each.rpartition("=")
        if not re.fullmatch(r"[0-9]{1,2}", number) or not int(number):
            raise UserError(
                f"--replicas {each} is not [MODEL=]N, such as {names[0] if names else 'net'}=2; N is from 1 to 99"
            )
        if name and name not in names:
            raise UnknownName.among("model", name, names)
        if name in counts:
            raise UserError(f"--replicas says how many {name or 'of each'} twice; say it once")
        counts[name] = int(number)
    usual = {each.name: counts.get("", int(each.graph.metadata.get("replicas", 1))) for each in models}
    wanted = {name: counts.get(name, usual[name]) for name in names}
    rounds = range(1, max(wanted.values(), default=0) + 1)
    return [
        replace(each, name=replica(each.name, n)) if wanted[each.name] > 1 else each
        for n in rounds
        for each in models
        if n <= wanted[each.name]
    ]
