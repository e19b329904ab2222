"""Where synfire keeps things; each place can be moved by an environment variable."""

from __future__ import annotations

import os
from pathlib import Path

from synfire.base.errors import UserError


def home() -> Path:
    """`SYNFIRE_HOME`: the store, the catalog and the sockets of running deployments. Default `~/.synfire`."""
    return Path(os.environ.get("SYNFIRE_HOME") or Path.home() / ".synfire")


def cache() -> Path:
    """`SYNFIRE_CACHE`: built engines and compiled kernels; safe to delete. Default `SYNFIRE_HOME/cache`."""
    return Path(os.environ.get("SYNFIRE_CACHE") or home() / "cache")


def data() -> Path:
    """`SYNFIRE_DATA`, else `../shared/data`: public data sets for training, tests and benchmarks.

    Raises `UserError` when neither exists.
    """
    given = os.environ.get("SYNFIRE_DATA")
    for place in [Path(given)] if given else [Path("../shared/data")]:
        if place.is_dir():
            return place.resolve()
    raise UserError(
        f"no data folder at {given or '../shared/data'}; set SYNFIRE_DATA to a folder with mnist/mnist.npz, "
        "nmnist/nmnist.npz, spoken-digits/recordings and citation-graphs/cora.npz (docs/data.md says where to get them)"
    )
