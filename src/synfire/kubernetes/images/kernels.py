"""Machine code that an image brings, so that a container need not compile for a minute before it answers.

It is computed by the image's own Python from the image's own files, in a root that is made of them. numba knows it by the place, the
time and the size of each source file, which are the same in a container, and by the processor: another kind compiles as before, and
so does whoever has it already in `SYNFIRE_CACHE`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from synfire.kubernetes.images.debian import run
from synfire.kubernetes.images.system import PYTHON

PLACE = "usr/share/synfire/cache"
"""As what `SYNFIRE_CACHE` is then copied from."""

_PROGRAM = "synfire.kubernetes.images.loading"


def lay(parts: Sequence[Path], into: Path, work: Path) -> None:
    """Put what is compiled from the image's other parts into the folder `into`, with the folder `work` to do it in.

    Raises `UserError` where no other root can be entered: without root's rights, and without namespaces of users.
    """
    root = work / "root"
    for part in parts:
        _settle(part)
        shutil.copytree(part, root, symlinks=True, dirs_exist_ok=True, copy_function=os.link)
    within = [] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user"]
    settings = {"SYNFIRE_CACHE": f"/{PLACE}", "SYNFIRE_HOME": "/tmp", "HOME": "/tmp", "PYTHONDONTWRITEBYTECODE": "1"}
    words = ["env", "-i", *(f"{name}={value}" for name, value in settings.items())]
    run([*words, *within, "/usr/sbin/chroot", str(root), f"/usr/bin/{PYTHON}", "-m", _PROGRAM])
    shutil.copytree(root / PLACE, into / PLACE)


def _settle(part: Path) -> None:
    """Have all files be of the time that layers give them."""
    for each in part.rglob("*"):
        os.utime(each, (0, 0), follow_symlinks=False)
