"""Shared libraries without what only debuggers read: symbols and line numbers that are no part of what is loaded.

Not with `strip`: it moves parts of a file, and some of the libraries that wheels have had mended (by auditwheel, with patchelf) do not
load then. Here a file ends behind the last byte that the loader maps, and tells of no sections, which loaders do not look for. Nothing
that is mapped changes.

Source: System V ABI, chapters 4 and 5 (ELF-64)
"""

from __future__ import annotations

from pathlib import Path
from struct import Struct

_HEADER_BYTES = 64
_KIND = b"\x7fELF\x02\x01"
"""With words of 64 bits, the least significant byte first."""

_SEGMENTS = Struct("<32xQ14xHH6x")
"""Where in the file the table of segments begins, how large each of its entries is, and how many there are."""

_SEGMENT = Struct("<8xQ16xQ16x")
"""Where in the file a segment begins, and how many bytes of the file it takes."""

_SECTIONS = (slice(40, 48), slice(60, 64))
"""What a header says of sections: where their table begins; how many there are, and which has their names."""


def cut(library: Path) -> None:
    """Cut the file off where nothing follows that is loaded. What is no such library, or not whole, is left as it is."""
    with library.open("r+b") as file:
        header = bytearray(file.read(_HEADER_BYTES))
        if len(header) < _HEADER_BYTES or not header.startswith(_KIND):
            return
        begin, each_bytes, count = _SEGMENTS.unpack(header)
        file.seek(begin)
        table = file.read(each_bytes * count)
        if each_bytes != _SEGMENT.size or len(table) < each_bytes * count:
            return
        end = max([begin + len(table), *(start + length for start, length in _SEGMENT.iter_unpack(table))])
        if end > library.stat().st_size:
            return
        for field in _SECTIONS:
            header[field] = bytes(field.stop - field.start)
        file.seek(0)
        file.write(header)
        file.truncate(end)
