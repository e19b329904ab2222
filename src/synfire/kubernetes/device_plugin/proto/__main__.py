"""`python -m synfire.kubernetes.device_plugin.proto`: compile `device_plugin.proto` after a change. Needs grpcio-tools."""

from __future__ import annotations

import sys
from pathlib import Path

from synfire.base.protobuf import compile_proto
from synfire.kubernetes.device_plugin.proto.messages import COMPILED

SOURCE = Path(__file__).with_name("device_plugin.proto")

if __name__ == "__main__":
    sys.exit(compile_proto(SOURCE, SOURCE.with_name(COMPILED)))
