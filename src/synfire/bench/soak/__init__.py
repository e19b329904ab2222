"""A day of life in minutes: random loads and faults from one seed, and whether everything holds that synfire promises."""

import synfire.gateway  # noqa: F401  before gRPC: it says that nothing is to be made of forks
from synfire.bench.soak.judgement import Violation
from synfire.bench.soak.run import Soak
from synfire.bench.soak.schedule import Schedule, random_schedule

__all__ = ["Schedule", "Soak", "Violation", "random_schedule"]
