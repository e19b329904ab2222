"""Begins `torch_server` in a process of its own. Run as a file: what it consists of lies beside it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    importlib.import_module("torch_server.process").main(sys.argv[1])
