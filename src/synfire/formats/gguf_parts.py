"""A GGUF model in several files, `NAME-00001-of-00003.gguf`, and the one file that they are parts of."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from synfire.base.errors import UserError
from synfire.formats.gguf import CURE, MAGIC, Gguf, Tensor, read_gguf
from synfire.store.files import explained

_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
MOST_PARTS = 999
PIECE = 1 << 20


def part_names(name: str) -> list[str]:
    """The names of all parts of the model that the file `name` is a part of, in order; `[name]` for a file that is none."""
    found = _PART.fullmatch(name)
    if found is None or not 1 <= int(found["count"]) <= MOST_PARTS:
        return [name]
    return [f"{found['stem']}-{number:05}-of-{found['count']}.gguf" for number in range(1, int(found["count"]) + 1)]


def whole_name(name: str) -> str:
    """`NAME.gguf` for the name of a part; another name as it is."""
    found = _PART.fullmatch(name)
    return f"{found['stem']}.gguf" if found else name


def read_parts(first: Path) -> list[Gguf]:
    """All parts of the model whose first part, or only file, is at `first`. Raises `UserError` where one is missing, damaged, of another
    model, or where another part is named."""
    places = [first.with_name(name) for name in part_names(first.name)]
    found = read_gguf(first)
    number, count = found.split
    if count == 1:
        return [found]
    if number:
        raise UserError(f"{first} is part {number + 1} of {count}; name the first one")
    missing = [place.name for place in places if not place.is_file()]
    if missing or len(places) != count:
        raise UserError(
            f"{first} is the first of {count} parts, of which {', '.join(missing) or 'the names do not tell the others'} are not beside it; "
            "lay all there under their own names"
        )
    parts = [found, *(read_gguf(place) for place in places[1:])]
    _check(parts)
    return parts


def join(parts: Sequence[Path], write: Callable[[bytes], None]) -> None:
    """Write the one file that the `parts` make. Raises `UserError` where one is missing, damaged, of another model, or twice."""
    found = [read_gguf(part) for part in parts]
    _check(found)
    tensors = [tensor for part in found for tensor in part.tensors]
    alignment = found[0].alignment
    header = _header(found[0], tensors, alignment)
    write(header + bytes(-len(header) % alignment))
    for part in found:
        for piece in _data(part, alignment):
            write(piece)


def _check(parts: Sequence[Gguf]) -> None:
    first = parts[0]
    for number, part in enumerate(parts):
        if part.split != (number, len(parts)):
            own, count = part.split
            raise UserError(
                f"{part.path} says of itself that it is part {own + 1} of {count}, and is taken for part {number + 1} of "
                f"{len(parts)}; {CURE}"
            )
        same = (
            ("version", "alignment")
            if number == 0 or not part.architecture
            else ("version", "alignment", "architecture")
        )
        for what in same:
            if getattr(part, what) != getattr(first, what):
                raise UserError(
                    f"{part.path} is part of another model than {first.path}: its {what} is another; {CURE}"
                )
    names = [tensor.name for part in parts for tensor in part.tensors]
    if len(set(names)) < len(names):
        raise UserError(f"the parts of {first.path} hold a tensor twice; {CURE}")
    announced = first.metadata.get("split.tensors.count", len(names))
    if announced != len(names):
        raise UserError(f"the parts of {first.path} hold {len(names)} tensors, and {announced} are announced; {CURE}")


def _header(first: Gguf, tensors: Sequence[Tensor], alignment: int) -> bytes:
    """The first part's metadata as they are, without what tells of parts, and the table of all tensors."""
    with explained(first.path, "read"), first.path.open("rb") as file:
        pairs = [_read(file.fileno(), span.start, span.end) for key, span in first.pairs.items() if not _of_parts(key)]
    infos, offset = [], 0
    for tensor in tensors:
        name = tensor.name.encode("utf-8", "surrogateescape")
        shape = struct.pack(f"<{len(tensor.shape)}Q", *tensor.shape)
        start = struct.pack("<Q", len(name)) + name + struct.pack("<I", len(tensor.shape)) + shape
        infos.append(start + struct.pack("<IQ", tensor.type.number, offset))
        offset += -(-tensor.bytes // alignment) * alignment
    return MAGIC + struct.pack("<IQQ", first.version, len(tensors), len(pairs)) + b"".join(pairs) + b"".join(infos)


def _of_parts(key: str) -> bool:
    return key.startswith("split.")


def _data(part: Gguf, alignment: int) -> Iterator[bytes]:
    """The bytes of a part's tensors, each filled up to the alignment."""
    with explained(part.path, "read"), part.path.open("rb") as file:
        for tensor in part.tensors:
            for start in range(tensor.offset, tensor.offset + tensor.bytes, PIECE):
                yield _read(file.fileno(), start, min(start + PIECE, tensor.offset + tensor.bytes))
            yield bytes(-tensor.bytes % alignment)


def _read(handle: int, start: int, end: int) -> bytes:
    pieces = []
    while start < end:
        piece = os.pread(handle, end - start, start)
        if not piece:
            raise UserError(f"a part became shorter while it was read; {CURE}")
        pieces.append(piece)
        start += len(piece)
    return b"".join(pieces)
