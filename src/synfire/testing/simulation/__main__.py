"""Tells the story of a seed, or looks for a seed that fails."""

from __future__ import annotations

import sys
from argparse import ArgumentParser

from synfire.testing.simulation.schedules import random_schedule
from synfire.testing.simulation.simulation import run, shrunk


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 0 when all is well, 1 when something was violated."""
    parser = ArgumentParser(prog="python -m synfire.testing.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="which schedule to live through")
    parser.add_argument("--count", type=int, default=1, help="how many seeds to try, from --seed on")
    parser.add_argument("--frames", action="store_true", help="tell of every packet, too")
    parser.add_argument("--whole", action="store_true", help="do not shrink a schedule that fails")
    given = parser.parse_args(arguments)
    for seed in range(given.seed, given.seed + given.count):
        done = run(random_schedule(seed))
        if done.violation or given.count == 1:
            told = done if given.whole or not done.violation else shrunk(done)
            print(f"seed {seed}: {told.story(given.frames)}")
        if done.violation:
            return 1
    if given.count > 1:
        print(f"{given.count} seeds, from {given.seed} on: all is well")
    return 0


if __name__ == "__main__":
    sys.exit(main())
