"""A checkpoint names the version of its engine's portable states: whoever changes their layout has to count that up."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from synfire.engines import ENGINES
from synfire.engines.known_answer import steps_of, stimulus
from synfire.engines.streaming import WholeEngine
from synfire.graph import flatten
from synfire.graph.passes import simplify
from synfire.plan.plan import stage_graph
from synfire.zoo import load

STAGES = {
    "sresnet-digits": ("blocks.0.conv1", "blocks.0.sn1", "blocks.0.conv2", "blocks.0.sn2"),
    "srnn-digits": ("recurrent.rc.input", "recurrent.rc.sum", "recurrent.sub_module", "recurrent.rc.feedback"),
}

LAYOUTS: dict[str, tuple[int, str]] = {
    "cpu": (2, "7553e94239463cea"),
    "cpu-bf16": (2, "f5eed9a6b8be4e38"),
    "cpu-int8": (2, "9e8e2e3b92f020ae"),
    "darwin3": (1, "886e01c5f188d26e"),
    "reference": (1, "7553e94239463cea"),
}
"""The version of each engine, and the digest of the portable states of that version: exact engines have the reference's."""


def digest_of_states(engine: str) -> str:
    """Of what the engine remembers of convolutions and a loop after a stimulus, with names and shapes."""
    digest = hashlib.sha256()
    for model, operators in STAGES.items():
        graph = stage_graph(simplify(flatten(load(model))), operators)
        program, steps = ENGINES[engine].installed().build(graph), steps_of(graph)
        inputs = stimulus(program.inputs, steps)
        assert inputs is not None
        state, _ = program.run(program.initial_state(1), inputs, steps)
        for name, array in sorted(program.portable(state).items()):
            digest.update(f"{name} {array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


@pytest.mark.parametrize("engine", LAYOUTS)
def test_states_are_laid_out_as_the_version_says(
    engine: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNFIRE_HOME", str(tmp_path_factory.mktemp("home")))
    found = (ENGINES[engine].version, digest_of_states(engine))
    assert found == LAYOUTS[engine], (
        f"the states of {engine} are laid out otherwise: count up its version, and write {found} here"
    )


def test_every_engine_has_a_version_that_is_watched() -> None:
    """But for engines of whole models, which keep no state, and `cuda`, whose states are the reference engine's (its own tests)."""
    own = {name for name in ENGINES if ENGINES[name].__module__.startswith("synfire.")}
    assert set(LAYOUTS) | {"cuda"} == {name for name in own if not issubclass(ENGINES[name], WholeEngine)}
