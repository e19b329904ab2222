"""`python -m synfire.kubernetes.device_plugin.proto`: compile `device_plugin.proto` after a change. Needs grpcio-tools."""

from __future__ import annotations

import sys
from pathlib import Path

from grpc_tools import protoc  # type: ignore[import-untyped]

from synfire.kubernetes.device_plugin.proto.messages import COMPILED

HERE = Path(__file__).parent


def compile_proto(target: Path) -> int:
    """Write the compiled descriptor to `target`; protoc's exit code."""
    return int(
        protoc.main(["protoc", f"-I{HERE}", f"--descriptor_set_out={target}", str(HERE / "device_plugin.proto")])
    )


if __name__ == "__main__":
    sys.exit(compile_proto(HERE / COMPILED))
