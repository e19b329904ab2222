"""Begins the process of a function. Run as a file, maybe by another environment's Python: it finds the synfire that it belongs to, of
which nothing more is imported than needs nothing."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
from pathlib import Path


def main() -> None:
    """Hand the order to the `main` of the module that it names, in the folder of this file."""
    order = json.loads(sys.argv[1])
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
        os.environ[name] = str(order.get("threads", 1))  # these are read when a library is loaded
    _find_synfire(Path(__file__).parents[1])
    importlib.import_module(f"synfire.functions.{order['module']}").main(order)


def _find_synfire(home: Path) -> None:
    spec = importlib.util.spec_from_file_location(
        "synfire", home / "__init__.py", submodule_search_locations=[str(home)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{home} is no package; install synfire again")
    sys.modules["synfire"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


if __name__ == "__main__":
    main()
