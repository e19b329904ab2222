"""Files and directories of this machine."""

from __future__ import annotations

from pathlib import Path

from synfire.base.errors import UserError
from synfire.formats.gguf_parts import whole_name
from synfire.hub.assemble import manifest_of_path
from synfire.hub.source import SOURCES, Into, Source, fitting_name
from synfire.store import ModelName


class PathSource(Source):
    """A GGUF file, the first of its parts, an ONNX file, or a Hugging Face directory."""

    name = "path"
    looks_like = "./FILE.gguf, ./FILE.onnx or a directory with config.json"

    def recognises(self, text: str) -> bool:
        return "://" not in text and (Path(text).expanduser().exists() or text.startswith(("/", "./", "../", "~")))

    def canonical(self, text: str) -> str:
        path = Path(text).expanduser()
        if not path.exists():
            raise UserError(f"there is no file or directory {path}; check the path")
        return str(path.resolve())

    def called(self, text: str) -> ModelName:
        path = Path(text).expanduser().resolve()
        return fitting_name(
            path.name if path.is_dir() else whole_name(path.name).removesuffix(".gguf").removesuffix(".onnx")
        )

    def fetch(self, text: str, into: Into) -> bytes:
        return manifest_of_path(Path(self.canonical(text)), into)


SOURCES.add(PathSource.name, PathSource())
