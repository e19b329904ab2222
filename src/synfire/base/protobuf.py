"""Messages and services of a `.proto` file, in a descriptor pool of their own.

Other libraries put packages of the same names into protobuf's default pool, where a second one is an error; and code that protoc
generates demands the protobuf release that made it. A private pool over the compiled descriptor has neither trouble.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory


class Package:
    """The protobuf package `name`, from the compiled descriptor `file` that lies in the Python package `where`."""

    def __init__(self, name: str, where: str, file: str) -> None:
        self.name = name
        self._pool = descriptor_pool.DescriptorPool()
        compiled = resources.files(where).joinpath(file).read_bytes()
        for each in descriptor_pb2.FileDescriptorSet.FromString(compiled).file:
            self._pool.Add(each)

    def message(self, name: str) -> Any:
        """The class of a message of the package, e.g. `ModelInferRequest`."""
        return message_factory.GetMessageClass(self._pool.FindMessageTypeByName(f"{self.name}.{name}"))

    def methods(self, service: str) -> tuple[Any, ...]:
        """A service's methods: descriptors with `name`, `input_type`, `output_type`, `client_streaming`, `server_streaming`."""
        return tuple(self._pool.FindServiceByName(service).methods)


def compile_proto(source: Path, target: Path) -> int:
    """Write the compiled descriptor of `source` to `target`; protoc's exit code. Needs grpcio-tools."""
    from grpc_tools import protoc  # type: ignore[import-untyped]

    return int(protoc.main(["protoc", f"-I{source.parent}", f"--descriptor_set_out={target}", str(source)]))
