"""The parity environment: SpikingJelly, and the one function of torchvision that its model files import."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

TRAINING = Path(__file__).resolve().parents[2] / "training"


@pytest.fixture(scope="session", autouse=True)
def training_on_path() -> None:
    """`training/` is a folder of scripts; its models and its stand-in for torchvision are imported by name."""
    if str(TRAINING) not in sys.path:
        sys.path.insert(0, str(TRAINING))
