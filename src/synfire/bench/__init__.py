"""Benchmarks: one file each, with rows, spreads and floors."""

from synfire.bench.benchmark import BENCHMARKS, Benchmark, Floor, Report, Settings, floor
from synfire.bench.machine import machine

__all__ = ["BENCHMARKS", "Benchmark", "Floor", "Report", "Settings", "floor", "machine"]
