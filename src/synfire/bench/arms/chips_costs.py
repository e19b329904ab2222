"""What a recovery on an emulated chip took: measured seconds of the host, and counted words and steps as seconds.

No hardware was at hand, and nothing is published about how fast it is written. So bytes are counted, and what they take is an
assumption: it is labelled as one, and swept in the report.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from synfire.devices.darwin3.limits import chip

WORD_BYTES = chip().word_bytes or 0

STEPS = ("compile", "place", "link", "feeds", "reset", "transfer", "spike")
"""The steps of a recovery, in order; the first four are measured on the host, the others emulated."""

WORDS_LOW_S, WORDS_HIGH_S = 0.4 / 34_500, 19 / 102_703
"""Seconds per word of the public toolchain's own compiler on 2 cores, at best and at worst: 0.4 s for 784-256-10, whose weights
fill about 34,500 words, and 12 to 19 s for nine cores with 1,643,248 bytes. It is not run here: these bracket what it would
take."""


@dataclass(frozen=True)
class Assumptions:
    """What is not published.

    `bandwidth_bytes_s`: gigabit Ethernet, over which the toolchain sends its flits by TCP; the mesh itself takes more. `latency_s`:
    one way of a packet through both stacks; the replayed request follows in the same stream, so it is paid once. `reset_s`: the
    largest core's 65,536 dendrite words cleared one a clock at 333 MHz, in all cores at once; the driver's share is not known.
    `step_s`: the time step, None for the shortest that the stage's busiest step fits in.
    """

    bandwidth_bytes_s: float = 125e6
    latency_s: float = 50e-6
    reset_s: float = 65_536 / 333e6
    step_s: float | None = None


ASSUMED = Assumptions()


@dataclass(frozen=True)
class Repaired:
    """One recovery, as it was measured and counted.

    `seconds` of the host by step; `words` written, `own_words` of the moved piece's core, `full_words` of the whole stage; steps of
    the chip: `spike_steps` until the replayed request's first output, `lost_steps` that the fault made void, `chip_steps` of a
    whole request; `step_s` the stage's shortest time step.
    """

    seconds: Mapping[str, float]
    resets: bool
    words: int
    own_words: int
    full_words: int
    spike_steps: int
    lost_steps: int
    chip_steps: int
    step_s: float
    requests: int
    lost: int
    wrong: int

    def steps(self, assumed: Assumptions = ASSUMED) -> dict[str, float]:
        """Seconds of each step that there was."""
        return {
            **self.seconds,
            **({"reset": assumed.reset_s} if self.resets else {}),
            "transfer": assumed.latency_s + self.words * WORD_BYTES / assumed.bandwidth_bytes_s,
            "spike": self.spike_steps * self._step_s(assumed),
        }

    def recovery_s(self, assumed: Assumptions = ASSUMED) -> float:
        """From the fault's report to the first right output."""
        return sum(self.steps(assumed).values())

    def outage_s(self, assumed: Assumptions = ASSUMED) -> float:
        """From sending the request that was in flight to its answer: what the chip had done of it, the recovery, all of it again."""
        more = self.lost_steps + self.chip_steps - self.spike_steps
        return self.recovery_s(assumed) + more * self._step_s(assumed)

    def _step_s(self, assumed: Assumptions) -> float:
        return self.step_s if assumed.step_s is None else assumed.step_s
