"""Engines: what runs a stage on a device."""

from synfire.engines.engine import ENGINES, DeviceProgram, Engine, Program, merge_states, split_state

__all__ = ["ENGINES", "DeviceProgram", "Engine", "Program", "merge_states", "split_state"]
