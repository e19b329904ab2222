"""How long the emulated chip takes, in times of the CPU engine; `-s` prints it."""

import time

import numpy as np
import pytest

from synfire.base.errors import UserError
from synfire.bench.arms.chips_networks import stages_of
from synfire.engines import ENGINES

STEPS, TURNS, MOST = 4, 15, 20
NAMES = "cpu", "darwin3"


@pytest.mark.slow
def test_the_emulation_takes_at_most_twenty_times_the_cpu_engine_for_the_mnist_network(record_property):
    try:
        (stage,) = stages_of("svgg-mnist")
    except UserError as error:
        pytest.skip(str(error))
    programs = {name: ENGINES[name]().build(stage.graph) for name in NAMES}
    for batch in (1, 16, 64):
        inputs = {name: np.resize(each, (STEPS, batch, *each.shape[2:])) for name, each in stage.inputs.items()}
        cpu, chip = (1e3 * each for each in shortest(programs, inputs, batch))
        record_property(f"batch {batch}", chip / cpu)
        print(f"batch {batch}: cpu {cpu:.2f} ms, darwin3 {chip:.2f} ms, {chip / cpu:.1f} times")
        assert chip <= MOST * cpu


def shortest(programs, inputs, batch):
    """Seconds of processor time of each engine's shortest run, in turns: what else runs slows both, and is not counted."""
    found = dict.fromkeys(NAMES, np.inf)
    for _ in range(TURNS):
        for name, program in programs.items():
            began = time.process_time()
            program.run(program.initial_state(batch), inputs, STEPS)
            found[name] = min(found[name], time.process_time() - began)
    return [found[name] for name in NAMES]
