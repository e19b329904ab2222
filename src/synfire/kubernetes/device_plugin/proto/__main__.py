"""`python -m synfire.kubernetes.device_plugin.proto`: compile the `.proto` files after a change. Needs grpcio-tools."""

from __future__ import annotations

import sys
from pathlib import Path

from synfire.base.protobuf import compile_proto

SOURCES = tuple(sorted(Path(__file__).parent.glob("*.proto")))

if __name__ == "__main__":
    sys.exit(max(compile_proto(each, each.with_suffix(".binpb")) for each in SOURCES))
