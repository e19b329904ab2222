"""Every operator keeps the promises of its contract."""

from __future__ import annotations

import numpy as np
import pytest

from synfire.ops import OPERATORS
from synfire.testing.operator_examples import EXAMPLES, Example
from synfire.testing.operators import check_operator


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
@pytest.mark.parametrize("seed", [0, 1])
def test_operator_conforms(example: Example, seed: int) -> None:
    check_operator(example.operator, *example.signals, rng=np.random.default_rng(seed), draw=example.draw)


def test_every_registered_operator_has_an_example() -> None:
    """But for those without a reference step: their engines have a suite of their own, see synfire.testing.language_engines."""
    stepped = {kind for kind in OPERATORS if not OPERATORS[kind].whole}
    missing = stepped - {example.operator.kind for example in EXAMPLES}
    assert not missing, f"add an example of {sorted(missing)} to synfire.testing.operator_examples"
