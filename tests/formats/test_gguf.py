"""A GGUF file is read as it is, and a crafted one costs an error and nothing else."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synfire.base.errors import UserError
from synfire.formats.gguf import LARGEST_HEADER, MAGIC, MOST_PAIRS, MOST_TENSORS, Gguf, is_gguf, read_gguf
from synfire.testing.weights import TEMPLATE, Typed, adapter, gguf, language_model


def read(path: Path, content: bytes) -> Gguf:
    path.write_bytes(content)
    return read_gguf(path)


def read_or_refused(path: Path, content: bytes) -> tuple[Gguf | None, str | None]:
    """What was read, or what the error says; any other error is none of ours."""
    try:
        return read(path, content), None
    except UserError as error:
        return None, str(error)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


def test_what_a_model_says_of_itself_is_read(file: Path) -> None:
    found = read(file, language_model())
    assert (found.version, found.architecture, found.precision, found.context_length) == (3, "llama", "F32", 64)
    assert found.metadata["tokenizer.ggml.tokens"] == ("a", "b", "č")
    assert found.metadata["tokenizer.ggml.token_type"].tolist() == [1, 1, 1]
    assert found.chat_template == TEMPLATE
    assert found.parameters == 4 * 3 * 32
    assert (found.is_adapter, found.split, is_gguf(file)) == (False, (0, 1), True)


def test_a_model_without_template_has_none(file: Path) -> None:
    assert read(file, language_model(template=None)).chat_template is None


def test_an_adapter_is_told_from_a_model(file: Path) -> None:
    assert read(file, adapter()).is_adapter


@given(
    metadata=st.dictionaries(
        st.from_regex(r"[a-z_.]{1,20}", fullmatch=True).filter(lambda key: key != "general.alignment"),
        st.text(st.characters(codec="utf-8"), max_size=20)
        | st.integers(0, 2**32 - 1)
        | st.booleans()
        | st.lists(st.text(st.characters(codec="utf-8"), max_size=5), min_size=1, max_size=4)
        | st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=4),
        max_size=6,
    ),
    shapes=st.lists(st.lists(st.integers(1, 4), min_size=0, max_size=4), max_size=4),
    alignment=st.sampled_from([32, 64, 4096]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_metadata_and_tensors_come_back(
    tmp_path: Path, metadata: dict[str, Any], shapes: list[list[int]], alignment: int
) -> None:
    rng = np.random.default_rng(0)
    arrays = {f"tensor {n}": rng.normal(size=shape).astype(np.float32) for n, shape in enumerate(shapes)}
    content = gguf({**metadata, "general.alignment": alignment}, arrays, alignment)
    found = read(tmp_path / "x.gguf", content)
    for key, value in metadata.items():
        got = found.metadata[key]
        assert (list(got) if isinstance(value, list) else got) == value
    for tensor, (name, array) in zip(found.tensors, arrays.items(), strict=True):
        assert (tensor.name, tensor.shape) == (name, array.shape[::-1])
        assert content[tensor.offset : tensor.offset + tensor.bytes] == array.tobytes()


@given(cut=st.floats(0, 1, exclude_max=True))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_that_is_cut_off_is_said_to_be(file: Path, cut: float) -> None:
    whole = language_model()
    with pytest.raises(UserError, match=r"model\.gguf (is cut off|is damaged|is no GGUF file)"):
        read(file, whole[: int(cut * len(whole))])


@given(place=st.integers(0, 600), value=st.binary(min_size=1, max_size=9))
@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_read_or_refused_and_nothing_else(file: Path, place: int, value: bytes) -> None:
    whole = bytearray(language_model())
    whole[place : place + len(value)] = value
    found, refusal = read_or_refused(file, bytes(whole))
    assert refusal is None or str(file) in refusal
    assert found is None or all(tensor.offset + tensor.bytes <= len(whole) for tensor in found.tensors)


@given(content=st.binary(max_size=300))
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_bytes_are_refused(file: Path, content: bytes) -> None:
    with pytest.raises(UserError):
        read(file, MAGIC + struct.pack("<I", 3) + content[:15])
    with pytest.raises(UserError):
        read(file, b"x" + content)


HUGE = 2**64 - 1


def start(tensors: int, pairs: int, rest: bytes = b"") -> bytes:
    return MAGIC + struct.pack("<IQQ", 3, tensors, pairs) + rest


def text(value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(value) if length is None else length) + value


KEY = text(b"key")
TENSOR = text(b"t") + struct.pack("<I", 1)

CRAFTED = {
    "pairs without end": (start(0, HUGE), f"metadata pairs is {HUGE}, and {MOST_PAIRS} is the most"),
    "tensors without end": (start(HUGE, 0), f"tensors is {HUGE}, and {MOST_TENSORS} is the most"),
    "a key without end": (start(0, 1, text(b"key", HUGE)), f"a metadata key is {HUGE} bytes long"),
    "a text without end": (start(0, 1, KEY + struct.pack("<I", 8) + text(b"x", HUGE)), "the value of 'key' at byte"),
    "an array without end": (start(0, 1, KEY + struct.pack("<IIQ", 9, 8, HUGE)), "the length of the value of 'key' is"),
    "numbers without end": (start(0, 1, KEY + struct.pack("<IIQ", 9, 4, HUGE)), "the length of the value of 'key' is"),
    "arrays within arrays": (start(0, 1, KEY + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 40), "at depth 4"),
    "an unknown type": (start(0, 1, KEY + struct.pack("<I", 99)), "has the type 99"),
    "a key twice": (start(0, 2, (KEY + struct.pack("<II", 4, 1)) * 2), "'key' twice"),
    "too many dimensions": (start(1, 0, text(b"t") + struct.pack("<I", HUGE & 0xFFFFFFFF)), "dimensions of tensor 't'"),
    "a shape of nothing": (start(1, 0, TENSOR + struct.pack("<QIQ", 0, 0, 0)), "has the shape (0,)"),
    "a shape without end": (start(1, 0, TENSOR + struct.pack("<QIQ", HUGE, 0, 0)), "is cut off: tensor 't' ends at byte"),
    "an offset without end": (start(1, 0, TENSOR + struct.pack("<QIQ", 1, 0, HUGE - 31)), "is cut off: tensor 't'"),
    "an offset between": (start(1, 0, TENSOR + struct.pack("<QIQ", 1, 0, 1)), "offsets of 32"),
    "half a block": (start(1, 0, TENSOR + struct.pack("<QIQ", 31, 8, 0)), "multiples of 32"),
    "an unknown tensor type": (start(1, 0, TENSOR + struct.pack("<QIQ", 1, 77, 0)), "has the type 77"),
    "a tensor twice": (start(2, 0, (TENSOR + struct.pack("<QIQ", 1, 0, 0)) * 2 + bytes(99)), "tensor 't' twice"),
    "an alignment of zero": (start(0, 1, text(b"general.alignment") + struct.pack("<II", 4, 0)), "no power of two"),
    "an alignment of words": (start(0, 1, text(b"general.alignment") + struct.pack("<I", 8) + text(b"x")), "no power of two"),
    "an old version": (MAGIC + struct.pack("<IQQ", 1, 0, 0), "GGUF version 1"),
    "another byte order": (MAGIC + struct.pack(">IQQ", 3, 0, 0), "big-endian machines"),
    "another kind of file": (b"PK\3\4" + bytes(40), "does not begin with GGUF"),
    "nothing": (b"", "the header alone takes 24"),
}  # fmt: skip


@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_file_is_refused_with_its_place(file: Path, name: str) -> None:
    content, message = CRAFTED[name]
    with pytest.raises(UserError) as error:
        read(file, content)
    assert message in str(error.value)
    assert str(file) in str(error.value)


def test_the_number_of_strings_of_all_arrays_is_bounded(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synfire.formats.gguf.MOST_TEXTS", 100)
    arrays = [text(b"key%d" % n) + struct.pack("<IIQ", 9, 8, 50) + bytes(8 * 50) for n in range(3)]
    with pytest.raises(UserError, match="the length of the value of 'key2' is 50, and 0 is the most"):
        read(file, start(0, 3, b"".join(arrays)))


def test_a_large_header_costs_no_memory(file: Path) -> None:
    """A file that is all header, and says so, is refused before it is read."""
    with file.open("wb") as content:
        content.write(start(0, 1, KEY + struct.pack("<IQ", 8, LARGEST_HEADER + 100)))
        content.truncate(LARGEST_HEADER + 1000)
    code = (
        "import sys; from pathlib import Path; import resource\n"
        "from synfire.formats.gguf import read_gguf\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: read_gguf(Path(sys.argv[1]))\n"
        "except ValueError as error: print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(file)], capture_output=True, text=True, timeout=120, check=True
    )
    said, grown_kib = done.stdout.splitlines()
    assert "its header is longer than" in said
    assert int(grown_kib) < 20_000


def test_numbers_of_every_type_are_read(file: Path) -> None:
    values = {"u": Typed(10, HUGE), "i": Typed(11, -5), "half": 0.5, "yes": True, "no": False}
    found = read(file, gguf(values, {}))
    assert dict(found.metadata) == {"u": HUGE, "i": -5, "half": 0.5, "yes": True, "no": False}
