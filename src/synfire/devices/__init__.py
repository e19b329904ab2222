"""What hardware can hold."""

from synfire.devices.cores import Cores
from synfire.devices.device import DEVICES, Description, Device

__all__ = ["DEVICES", "Cores", "Description", "Device"]
