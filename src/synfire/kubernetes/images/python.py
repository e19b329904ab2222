"""What an image has of PyPI: synfire itself, and what it stands on, as wheels unpack it, without their tests, sources and symbols."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from synfire.base.errors import UserError
from synfire.kubernetes.images import libraries
from synfire.kubernetes.images.debian import run
from synfire.kubernetes.images.kernels import PLACE as KERNELS
from synfire.kubernetes.images.system import PYTHON

PLACE = f"usr/local/lib/{PYTHON}/dist-packages"
"""Where Debian's Python looks for them."""

SCRIPT = f"""\
#!/usr/bin/{PYTHON}
import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path

kept, cache = Path("/{KERNELS}/numba"), Path(os.environ.get("SYNFIRE_CACHE", "/nowhere"), "numba")
if kept.is_dir() and not cache.exists():
    new = cache.with_name(f".numba-{{os.getpid()}}")
    with suppress(OSError):  # a full disk, or another container that is faster: they are compiled, or there
        shutil.copytree(kept, new)
        new.rename(cache)
    shutil.rmtree(new, ignore_errors=True)

from synfire.cli import main

sys.exit(main())
"""
"""The command. It first copies the machine code that the image brings to where synfire looks for it."""

_UNUSED = ("**/tests", "bin")
_SOURCES = (".pyi", ".pyx", ".pxd", ".pxi", ".a", ".c", ".h", ".hpp")
"""What compilers and type checkers read."""


def lay(checkout: Path, extras: Sequence[str], ours: Path, theirs: Path, work: Path) -> None:
    """Put synfire, built from the checkout, into the folder `ours`, and all that it and its extras need into `theirs`.

    Raises `UserError` under another Python than the image's, and where PyPI has no wheel of something.
    """
    if f"python{sys.version_info.major}.{sys.version_info.minor}" != PYTHON:
        raise UserError(
            f"the image has {PYTHON}, and wheels are chosen for the Python that chooses: build it with {PYTHON}"
        )
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    run([*pip, "wheel", "--no-deps", "--wheel-dir", str(work), str(checkout)])
    (wheel,) = work.glob("synfire-*.whl")
    place = theirs / PLACE
    options = ["--root-user-action=ignore", "--no-compile", "--only-binary=:all:", "--target", str(place)]
    run([*pip, "install", *options, f"{wheel}[{','.join(extras)}]"])
    prune(place)
    (ours / PLACE).mkdir(parents=True)
    for each in place.glob("synfire*"):
        each.rename(ours / PLACE / each.name)
    next((ours / PLACE).glob("synfire-*.dist-info/direct_url.json")).unlink()  # where the wheel was
    script = ours / "usr/local/bin/synfire"
    script.parent.mkdir(parents=True)
    script.write_text(SCRIPT)
    script.chmod(0o755)


def compile_all(root: Path, *, alone: bool = False) -> None:
    """Put bytecode beside all modules below the folder, since containers cannot, or `alone` in their place.

    It holds whatever the time of the file is. With no source beside it a traceback tells file and line, and not what the line says.
    """
    options = ["--invalidation-mode=unchecked-hash", "-q", "-s", str(root), "-p", "/", *(["-b"] if alone else [])]
    run([sys.executable, "-m", "compileall", *options, str(root)], environment={"PYTHONHASHSEED": "0"})
    for each in [*root.rglob("*.py")] if alone else []:
        if each.with_suffix(".pyc").is_file():
            each.unlink()


def prune(place: Path) -> None:
    """Take out of packages what nothing reads that runs: tests, what compilers and type checkers read, symbols for debuggers."""
    for pattern in _UNUSED:
        for each in [*place.glob(pattern)]:
            shutil.rmtree(each, ignore_errors=True)
    for each in [*place.rglob("*")]:
        if not each.is_file() or each.is_symlink():
            continue
        if each.suffix in _SOURCES:
            each.unlink()
        elif ".so" in each.suffixes:
            libraries.cut(each)
