"""Hugging Face directories as OpenVINO reads them: converted once, with weights of 8 bits, in an environment of its own, and kept by content.

The converter needs torch and much more; what comes of it does not. It is looked for where nothing was built yet.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from synfire.base import paths
from synfire.base.errors import PermanentError, UserError
from synfire.engines.language.environment import Environment
from synfire.formats.weights import gathered
from synfire.store.files import explained

BUILDER = Environment(
    "SYNFIRE_OPENVINO_BUILD_PYTHON",
    ("optimum.intel", "nncf"),
    "pip install torch==2.13.0, then optimum-intel==2.2.0 nncf==3.4.0, without torchvision",
)
FORMAT = "int8"
PACKAGES = ("optimum-intel", "nncf", "openvino", "transformers")
"""What the outcome depends on, beside the model."""

_WHOLE = "openvino_model.xml"
_QUIET = {"HF_HUB_OFFLINE": "1", "CI": "1", "DO_NOT_TRACK": "1"}
"""Nothing is fetched, and nothing is reported."""

Tell = Callable[[str, float], None]
Files = Sequence[tuple[str, str]]


def built(files: Files) -> Path | None:
    """What was built of a model, known by its files and their digests; by any converter, where none is at hand."""
    if not BUILDER.missing():
        folder = _folder(files)
        return folder if (folder / _WHOLE).is_file() else None
    found = [each for each in _home().glob(f"{_content(files)}-*") if (each / _WHOLE).is_file()]
    return max(found, key=lambda each: each.stat().st_mtime, default=None)


def build(files: Files, tell: Tell) -> Path:
    """Convert a model, where that was not done before. Raises `UserError` where there is no converter, or it refuses the model."""
    found = built(files)
    if found is not None:
        return found
    refusal = BUILDER.refusal()
    if refusal:
        raise UserError(f"the model has to be converted for OpenVINO first, and {refusal}")
    target = _folder(files)
    with explained(target, "write"):
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=target.parent, prefix=".new-"))
    try:
        tell(f"converting to {FORMAT}", 0.1)
        _convert(gathered(files), fresh)
        tell(f"converted to {FORMAT}", 1.0)
        with explained(target, "write"):
            shutil.rmtree(target, ignore_errors=True)
            fresh.rename(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return target


def _convert(model: Path, into: Path) -> None:
    tool = Path(BUILDER.python).parent / "optimum-cli"
    command = [str(tool), "export", "openvino", "--model", str(model), "--task", "text-generation-with-past"]
    ran = subprocess.run(
        [*command, "--weight-format", FORMAT, str(into)],
        env={**os.environ, **_QUIET},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode or not (into / _WHOLE).is_file():
        words = "\n    ".join(ran.stderr.strip().splitlines()[-5:])
        raise UserError(f"{model} cannot be converted for OpenVINO; the last words of {tool}:\n    {words}")


def _folder(files: Files) -> Path:
    return _home() / f"{_content(files)}-{_converter(BUILDER.python)}"


def _home() -> Path:
    return paths.cache() / "openvino"


def _content(files: Files) -> str:
    return hashlib.sha256(repr(sorted((str(name), str(digest)) for name, digest in files)).encode()).hexdigest()[:32]


@lru_cache(maxsize=4)
def _converter(python: str) -> str:
    """The versions of all that takes part, and the format, in a few letters. Raises `PermanentError` where they are not told."""
    code = f"from importlib.metadata import version as v; print(*(v(n) for n in {PACKAGES!r}))"
    try:
        said = subprocess.run([python, "-P", "-c", code], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise PermanentError(
            f"{python} does not tell the versions of {', '.join(PACKAGES)}: {error}; install them"
        ) from error
    return hashlib.sha256(f"{FORMAT} {said.stdout.strip()}".encode()).hexdigest()[:12]
