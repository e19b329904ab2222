"""What hardware can hold."""

from synfire.devices.device import DEVICES, Description, Device

__all__ = ["DEVICES", "Description", "Device"]
