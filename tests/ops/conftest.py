"""Fixtures of the operator tests."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def features() -> ModuleType:
    """The training's own pre-processing, `training/features.py`: what the networks saw when they learned."""
    path = Path(__file__).parents[2] / "training" / "features.py"
    spec = importlib.util.spec_from_file_location("features", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
