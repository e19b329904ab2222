"""Begins an engine's process. Run as a file, maybe by another environment's Python: this folder becomes a package by itself, and nothing
else of synfire can be imported."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from pathlib import Path


def main() -> None:
    """Hand the order to the `main` of the package's module that it names."""
    order = json.loads(sys.argv[1])
    here = Path(__file__).parent
    spec = importlib.util.spec_from_file_location(
        "processes", here / "__init__.py", submodule_search_locations=[str(here)]
    )
    if spec is None:
        raise ImportError(f"{here} is no package; install synfire again")
    sys.modules["processes"] = importlib.util.module_from_spec(spec)
    importlib.import_module(f"processes.{order['module']}").main(order)


if __name__ == "__main__":
    main()
