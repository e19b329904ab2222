"""What an image has of Debian: Python, the libraries that it needs, and who the user is. No shell, no package manager."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from synfire.kubernetes.images.debian import Package, unpack
from synfire.kubernetes.manifests.parts import CACHE, HOME, USER

PYTHON = "python3.11"

PACKAGES = (
    "base-files",
    "libbz2-1.0",
    "libc6",
    "libcrypt1",
    "libexpat1",
    "libffi8",
    "libgcc-s1",
    "libgomp1",
    "liblzma5",
    f"lib{PYTHON}-minimal",
    f"lib{PYTHON}-stdlib",
    "libsqlite3-0",
    "libssl3",
    "libstdc++6",
    "libuuid1",
    "media-types",
    "netbase",
    f"{PYTHON}-minimal",
    "zlib1g",
)
"""Python with what the standard library is linked to, as far as synfire and what it stands on import it. llama.cpp computes with libgomp1."""

_WANTED = ("etc/", "usr/lib/", "usr/lib64/", f"usr/bin/{PYTHON}", "usr/share/common-licenses/", "usr/share/doc/")
_UNUSED = (
    f"usr/lib/{PYTHON}/{{idlelib,lib2to3,pydoc_data,sitecustomize*,test,tkinter,turtledemo}}",
    "usr/lib/*/gconv",
    "usr/lib/mime",
    f"etc/{{cron.d,default,dpkg,init.d,kernel,ld.so.conf.d,profile.d,{PYTHON},skel,update-motd.d}}",
)
_TEXTS = {
    "etc/passwd": f"root:x:0:0:root:/:/sbin/nologin\nsynfire:x:{USER}:{USER}:synfire:{HOME}:/sbin/nologin\n",
    "etc/group": f"root:x:0:\nsynfire:x:{USER}:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n",
}
_LINKS = {each: f"usr/{each}" for each in ("bin", "lib", "lib64", "sbin")} | {"usr/bin/python3": PYTHON}
_FOLDERS = ("dev", "proc", "run", "sys", "tmp", "usr/bin", "usr/sbin", HOME[1:], CACHE[1:])

OWNERS = {HOME[1:]: USER, CACHE[1:]: USER}
"""Where the user may write, where the root is not read-only."""


def lay(packages: Sequence[Package], root: Path) -> None:
    """Unpack the packages into the folder, and add what an image needs beside."""
    for package in packages:
        unpack(package, root, _WANTED)
    unused = [found for pattern in _UNUSED for each in _alternatives(pattern) for found in root.glob(each)]
    unused += [each for each in root.glob("usr/share/doc/*/*") if each.name != "copyright"]
    for path in unused:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    for name in _FOLDERS:
        (root / name).mkdir(parents=True, exist_ok=True)
    for name, text in _TEXTS.items():
        (root / name).write_text(text)
    for name, target in _LINKS.items():
        (root / name).symlink_to(target)


def _alternatives(pattern: str) -> list[str]:
    """`a/{b,c}` as `a/b` and `a/c`."""
    before, brace, rest = pattern.partition("{")
    return [before + each for each in rest.removesuffix("}").split(",")] if brace else [pattern]
