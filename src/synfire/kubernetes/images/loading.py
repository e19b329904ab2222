"""Run within an image that is being made: loads what its containers compute with, so that the machine code is kept in `SYNFIRE_CACHE`."""

from __future__ import annotations

from synfire.deploy import forking
from synfire.devices.darwin3 import limits
from synfire.devices.darwin3.chip import Chip
from synfire.devices.darwin3.self_test import self_test


def load() -> None:
    """What workers load before they have a stage; and what a device plugin, and a worker of a chip, call."""
    forking.load()
    self_test(Chip(limits.chip("darwin3")))


if __name__ == "__main__":
    load()
