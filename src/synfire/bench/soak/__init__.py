"""A day of life in minutes: random loads and faults from one seed, and whether everything holds that synfire promises."""

from synfire.bench.soak.judgement import Violation
from synfire.bench.soak.run import Soak
from synfire.bench.soak.schedule import Schedule, random_schedule

__all__ = ["Schedule", "Soak", "Violation", "random_schedule"]
