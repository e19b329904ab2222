"""The darwin3 chip in software, and the compiler that puts stages on it."""

from synfire.devices.darwin3.device import Darwin3

__all__ = ["Darwin3"]
