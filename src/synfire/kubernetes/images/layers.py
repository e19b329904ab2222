"""Layers: folders as tar files that say nothing of who has made them, or when."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from pathlib import Path

_FOLDER, _PROGRAM, _FILE, _SHARED = 0o755, 0o755, 0o644, 0o1777


def pack(folder: Path, layer: Path, owners: Mapping[str, int]) -> None:
    """Write what is in the folder as a layer. Folders that `owners` names are that user's, all else is root's; `tmp` is everybody's.

    Two layers of the same content are the same, byte for byte.
    """
    with tarfile.open(layer, "w", format=tarfile.GNU_FORMAT) as files:
        for each in sorted(folder.rglob("*")):
            entry = files.gettarinfo(each, str(each.relative_to(folder)))
            entry.uid = entry.gid = owners.get(entry.name, 0)
            entry.uname = entry.gname = ""
            entry.mtime = 0
            if not entry.isreg():
                entry.mode = _SHARED if entry.name == "tmp" else _FOLDER
                files.addfile(entry)
                continue
            entry.mode = _PROGRAM if entry.mode & 0o100 else _FILE
            with each.open("rb") as content:
                files.addfile(entry, content)
