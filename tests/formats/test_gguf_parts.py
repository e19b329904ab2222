"""Parts of a GGUF model become the file that they were cut from, or are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from synfire.base.errors import UserError
from synfire.formats.gguf import read_gguf
from synfire.formats.gguf_parts import join, part_names, whole_name
from synfire.testing.weights import language_model, language_model_parts


def written(folder: Path, contents: list[bytes]) -> list[Path]:
    paths = [folder / f"m-{n + 1:05}-of-{len(contents):05}.gguf" for n in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return paths


def joined(parts: list[Path]) -> bytes:
    pieces: list[bytes] = []
    join(parts, pieces.append)
    return b"".join(pieces)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_parts_make_the_file_that_they_were_cut_from(tmp_path: Path, count: int) -> None:
    *parts, whole = language_model_parts(count)
    assert joined(written(tmp_path, parts)) == whole
    (tmp_path / "whole.gguf").write_bytes(whole)
    assert read_gguf(tmp_path / "whole.gguf").split == (0, 1)
    assert read_gguf(tmp_path / f"m-00001-of-0000{count}.gguf").split == (0, count)


def test_names_of_parts_are_known_from_one_of_them() -> None:
    names = ["a-00001-of-00003.gguf", "a-00002-of-00003.gguf", "a-00003-of-00003.gguf"]
    assert all(part_names(name) == names for name in names)
    assert whole_name(names[1]) == "a.gguf"
    for single in ("a.gguf", "a-1-of-2.gguf", "a-00001-of-99999.gguf", "a-00001-of-00000.gguf"):
        assert part_names(single) == [single]


def test_parts_in_another_order_are_refused(tmp_path: Path) -> None:
    *parts, _ = language_model_parts(3)
    with pytest.raises(UserError, match=r"part 2 of 3, and is taken for part 1 of 3.*download the file again"):
        joined(written(tmp_path, [parts[1], parts[0], parts[2]]))


def test_a_missing_part_is_noticed(tmp_path: Path) -> None:
    *parts, _ = language_model_parts(3)
    with pytest.raises(UserError, match="part 1 of 3, and is taken for part 1 of 2"):
        joined(written(tmp_path, parts[:2]))


def test_a_part_of_another_model_is_refused(tmp_path: Path) -> None:
    *parts, _ = language_model_parts(2)
    with pytest.raises(UserError, match=r"hold a tensor twice|are announced"):
        joined(written(tmp_path, [parts[0], language_model_parts(2)[1].replace(b"blk.4", b"blk.0")]))


def test_a_file_that_is_no_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="says of itself that it is part 1 of 1"):
        joined(written(tmp_path, [language_model(), language_model()]))


def test_a_part_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    *parts, _ = language_model_parts(2)
    with pytest.raises(UserError, match=r"m-00002-of-00002\.gguf is cut off"):
        joined(written(tmp_path, [parts[0], parts[1][:-40]]))
