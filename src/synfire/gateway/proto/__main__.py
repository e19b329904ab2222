"""`python -m synfire.gateway.proto`: compile `inference.proto` again after a change. Needs grpcio-tools."""

from __future__ import annotations

import sys
from pathlib import Path

from synfire.base.protobuf import compile_proto
from synfire.gateway.proto.messages import COMPILED

SOURCE = Path(__file__).with_name("inference.proto")

if __name__ == "__main__":
    sys.exit(compile_proto(SOURCE, SOURCE.with_name(COMPILED)))
