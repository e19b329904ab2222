"""The nets that `synfire bench frameworks` compares with compute what synfire computes."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch", reason="the parity environment is not installed (make parity)")
pytest.importorskip("spikingjelly", reason="the parity environment is not installed (make parity)")

from synfire.base.errors import UserError  # noqa: E402
from synfire.bench.contenders import named  # noqa: E402
from synfire.bench.frameworks import OURS, Case, cases, compared  # noqa: E402
from synfire.ops.mat_mul import MatMul  # noqa: E402
from synfire.testing.counterpart import layer  # noqa: E402
from synfire.zoo import names  # noqa: E402


@pytest.mark.parametrize("model", names())
def test_spikingjellys_net_with_the_same_weights_gives_the_same_answers(model: str) -> None:
    for case in cases([model]):
        rows = [row for row in compared(case, 1, named("spikingjelly")) if row["framework"] != OURS]
        assert rows
        for row in rows:
            assert row["same_predictions"] == 1.0
            assert row["max_difference"] < 1e-3


def test_random_encoders_are_not_compared_but_their_spikes_are_shared() -> None:
    for case in cases(["sgnn-digits"]):
        assert isinstance(case, Case)
        assert "Bernoulli" not in {case.graph.operator(name).kind for name in case.graph.order()}
        assert any(set(np.unique(array)) <= {0, 1} for array in case.inputs.values())


def test_an_operator_without_counterpart_is_named() -> None:
    with pytest.raises(UserError, match="MatMul has no counterpart"):
        layer(MatMul())
