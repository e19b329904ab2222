"""Faults that can be injected by name into what runs on this machine: one file per family of kinds."""

from synfire.deploy.faults.fault import FAULTS, TYPED, Act, Fault, Options, Scene, Tell, inject
from synfire.deploy.faults.grip import Grip, Process

__all__ = ["FAULTS", "TYPED", "Act", "Fault", "Grip", "Options", "Process", "Scene", "Tell", "inject"]
