"""Builds an image of synfire from Debian's and PyPI's packages, as an OCI archive."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

import synfire
from synfire.base.errors import SynfireError, UserError
from synfire.kubernetes.images.building import build


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 when the image is built."""
    parser = ArgumentParser(prog="python -m synfire.kubernetes.images", description=__doc__)
    parser.add_argument("--checkout", type=Path, default=Path(), help="where synfire's pyproject.toml is")
    parser.add_argument("--extra", action="append", default=[], help="an engine family: onnx, llama, openvino, …")
    parser.add_argument("--out", type=Path, default=Path("build/images"), help="the folder for the archive")
    given = parser.parse_args(arguments)
    began_s = time.monotonic()
    try:
        built = build(given.checkout.resolve(), synfire.__version__, tuple(given.extra), given.out)
    except SynfireError as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, UserError) else 3
    print(f"{built.name} {built.digest}")
    print(f"{built.archive}: {built.packed_bytes / 1e6:.0f} MB, unpacked {built.unpacked_bytes / 1e6:.0f} MB")
    if built.without_kernels:
        print(f"without machine code, so containers compile it: {built.without_kernels}", file=sys.stderr)
    print(f"{built.sbom}; in {time.monotonic() - began_s:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
