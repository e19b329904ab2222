"""llama.cpp compiled for the processor that is here, once, from sources of the user's, and kept by their content.

A wheel has to run on any processor, so it uses the instructions of old ones; what is compiled here uses all that this one has, and runs
on no lesser one. Nothing is fetched.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path

from synfire.base import paths
from synfire.base.errors import UserError
from synfire.devices import DEVICES
from synfire.store.files import explained

SOURCE = "SYNFIRE_LLAMA_SOURCE"
"""The variable that names llama.cpp's sources."""

SERVER = "llama-server"
_PARTS = ("CMakeLists.txt", "cmake", "common", "ggml", "include", "src", "tools", "vendor")
"""Of the sources, what the server is made of."""

_OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    "GGML_NATIVE": "ON",
    "GGML_CCACHE": "OFF",
    "BUILD_SHARED_LIBS": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_APP": "OFF",
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",
    "LLAMA_CURL": "OFF",
    "LLAMA_OPENSSL": "OFF",
}
_PROGRESS = re.compile(r"\[ *(\d+)(?:/(\d+)|%)\]")
"""How far make, or ninja, says it is."""

_TAIL_LINES = 8

Tell = Callable[[str, float], None]


def built() -> Path | None:
    """The server that was compiled for this processor: of the sources that are named, else the newest."""
    if os.environ.get(SOURCE):
        found = _folder() / SERVER
        return found if found.is_file() else None
    servers = _home().glob(f"*-{_processor()}/{SERVER}")
    return max(servers, key=lambda each: each.stat().st_mtime, default=None)


def refusal() -> str:
    """Why there is no such server, and why none can be compiled; empty where one is there or can be. Raises `UserError` for sources that
    are none."""
    if built() is not None:
        return ""
    if not os.environ.get(SOURCE):
        return f"none is compiled for this processor: name llama.cpp's sources in {SOURCE}, and it is"
    missing = [name for name, found in (("cmake", _tool("cmake")), ("a C++ compiler", _compiler())) if not found]
    return f"it is compiled from sources, and {' and '.join(missing)} cannot be found: install them" if missing else ""


def build(tell: Tell) -> Path:
    """Compile it, where that was not done before; it takes minutes. Raises `UserError` where there are no sources, or no tools, and with
    the last words of a compiler that fails."""
    found = built()
    if found is not None:
        return found
    reason = refusal()
    if reason:
        raise UserError(f"llama.cpp cannot be compiled here: {reason}")
    target = _folder()
    with explained(target, "write"):
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=target.parent, prefix=".new-"))
    try:
        _compile(_source(), fresh, tell)
        with explained(target, "write"):
            kept = fresh / "kept"
            kept.mkdir()
            shutil.copy2(fresh / "bin" / SERVER, kept / SERVER)
            shutil.rmtree(target, ignore_errors=True)
            kept.rename(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return target / SERVER


def _compile(source: Path, into: Path, tell: Tell) -> None:
    options = [f"-D{name}={value}" for name, value in _OPTIONS.items()]
    cores = str(len(os.sched_getaffinity(0)))
    tell("looking at the compiler", 0.0)
    for command in (
        ["-S", str(source), "-B", str(into), *options],
        ["--build", str(into), "--target", SERVER, "--parallel", cores],
    ):
        _told(["cmake", *command], tell)
    if not (into / "bin" / SERVER).is_file():
        raise UserError(
            f"{source} was compiled, and there is no bin/{SERVER}: are these llama.cpp's sources? Set {SOURCE} to them"
        )
    tell("compiled", 1.0)


def _told(command: list[str], tell: Tell) -> None:
    """Run it, and tell how far it says it is."""
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            tail.append(line.rstrip())
            if (found := _PROGRESS.match(line)) is not None:
                tell("compiling for this processor", int(found[1]) / int(found[2] or 100))
    if running.returncode:
        words = "\n    ".join(tail)
        raise UserError(f"llama.cpp in {_source()} cannot be compiled; the last words of {command[0]}:\n    {words}")


def _source() -> Path:
    """The sources that are named. Raises `UserError` for a folder without them."""
    found = Path(os.environ[SOURCE])
    if not (found / "CMakeLists.txt").is_file() or not (found / "tools" / "server").is_dir():
        raise UserError(
            f"{SOURCE} is {found}, which has no CMakeLists.txt with tools/server beside it; set it to llama.cpp's sources"
        )
    return found


def _folder() -> Path:
    return _home() / f"{_content(_source())}-{_processor()}"


def _home() -> Path:
    return paths.cache() / "llama.cpp"


@lru_cache(maxsize=4)
def _content(source: Path) -> str:
    """The sources and the options in a few letters."""
    found = hashlib.sha256(repr(sorted(_OPTIONS.items())).encode())
    with explained(source, "read"):
        for path in sorted(_files(source)):
            found.update(f"\n{path.relative_to(source)} {path.stat().st_size}\n".encode())
            found.update(path.read_bytes())
    return found.hexdigest()[:24]


def _files(source: Path) -> Iterable[Path]:
    for part in _PARTS:
        yield from (each for each in (source / part, *(source / part).rglob("*")) if each.is_file())


def _processor() -> str:
    """This processor in a few letters: what is compiled for another one may end by an instruction that this one has not."""
    here = DEVICES["cpu"].describe()
    return hashlib.sha256(f"{here.model} {here.features}".encode()).hexdigest()[:12]


def _tool(name: str) -> bool:
    return shutil.which(name) is not None


def _compiler() -> bool:
    return any(_tool(name) for name in (os.environ.get("CXX") or "c++", "g++", "clang++"))
