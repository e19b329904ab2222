"""Weights in fewer bits: as near to the numbers as the bits allow, and as ggml writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from synfire.base.errors import UnknownName, UserError
from synfire.formats.gguf import read_gguf
from synfire.formats.gguf_quantize import PRECISIONS, decoded, encoded, planned_types, quantize
from synfire.formats.gguf_types import TENSOR_TYPES, TensorType
from synfire.testing.language_models import write_tiny_language_model
from synfire.testing.weights import adapter

TYPES = {each.name: each for each in TENSOR_TYPES.values()}
BLOCKS = arrays(np.float32, (3, 32), elements=st.floats(-100, 100, width=32))


def read(content: bytes, kind: TensorType) -> np.ndarray:
    """The numbers of quantised blocks, by the formats' definition, one after the other."""
    found: list[float] = []
    for start in range(0, len(content), kind.bytes):
        block = content[start : start + kind.bytes]
        scale = float(np.frombuffer(block[:2], "<f2")[0])
        if kind.name == "Q8_0":
            found += [scale * q for q in np.frombuffer(block[2:], np.int8)]
            continue
        wide = kind.name == "Q5_0"
        high = int.from_bytes(block[2:6], "little") if wide else 0
        packed = block[6:] if wide else block[2:]
        low = [each & 15 for each in packed] + [each >> 4 for each in packed]
        found += [scale * ((q | (high >> n & 1) << 4) - (16 if wide else 8)) for n, q in enumerate(low)]
    return np.array(found, np.float32)


@pytest.mark.filterwarnings("error")
@given(BLOCKS)
def test_quantised_numbers_are_within_a_step_of_what_they_were(numbers: np.ndarray) -> None:
    for name, steps in (("Q8_0", 127), ("Q5_0", 16), ("Q4_0", 8)):
        content = encoded(numbers.ravel(), name)
        assert len(content) == 3 * TYPES[name].bytes
        step = np.abs(numbers).max(1, keepdims=True) / steps
        error = np.abs(read(content, TYPES[name]).reshape(3, 32) - numbers)
        # Half a step; a whole one at the end that has no number of its own; and the scale's rounding to half precision.
        bound = step * (0.51 if name == "Q8_0" else 1.01) + np.abs(numbers) * 1e-3 + 2e-5
        assert (error <= bound).all()


@pytest.mark.filterwarnings("error")
@given(arrays(np.float32, (3, 32), elements=st.floats(-(2.0**-120), 2.0**-120, width=32)))
def test_numbers_too_small_for_a_scale_are_0(numbers: np.ndarray) -> None:
    for name in ("Q8_0", "Q5_0", "Q4_0"):
        assert not read(encoded(numbers.ravel(), name), TYPES[name]).any()


@pytest.mark.filterwarnings("error")
def test_a_block_whose_scale_has_no_inverse_is_one_of_zeros() -> None:
    """By its definition it would hold infinity and nothing that is a number, and what a processor makes of these."""
    numbers = np.zeros(32, np.float32)
    numbers[3] = np.finfo(np.float32).smallest_subnormal * 200
    assert np.frombuffer(encoded(numbers, "Q8_0"), np.uint8).tolist() == [0] * 34
    assert encoded(numbers, "Q4_0")[2:] == b"\x88" * 16
    assert encoded(-numbers, "Q5_0")[6:] == bytes(16)


def test_blocks_are_those_of_the_reference() -> None:
    numbers = np.zeros(32, np.float32)
    numbers[:3] = 127.0, -0.5, 2.5
    block = encoded(numbers, "Q8_0")
    assert (block[:2], list(np.frombuffer(block[2:5], np.int8))) == (np.float16(1).tobytes(), [127, -1, 3])
    numbers[:3], numbers[16] = (-8.0, 7.0, 0.4), 3.0
    block = encoded(numbers, "Q4_0")
    assert (block[:2], block[2], block[3], block[4]) == (np.float16(1).tobytes(), 0 | 11 << 4, 15 | 8 << 4, 8 | 8 << 4)
    numbers[:3] = -16.0, 15.0, 0.4
    block = encoded(numbers, "Q5_0")
    assert (block[6] & 15, block[7] & 15, block[2] & 3) == (0, 15, 2)
    assert encoded(np.zeros(32, np.float32), "Q4_0") == b"\x00\x80" + b"\x88" * 16  # 0 ÷ -8 is -0


def test_bfloat16_rounds_to_the_nearest_even() -> None:
    numbers = np.array([1.0, 1.00390625, 1.01171875, -3.3], np.float32)
    found = decoded(encoded(numbers, "BF16"), TYPES["BF16"])
    assert list(found[:3]) == [1.0, 1.0, 1.015625]
    assert abs(found[3] + 3.3) < 0.01
    assert list(decoded(encoded(numbers, "F16"), TYPES["F16"])[:1]) == [1.0]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_language_model(tmp_path / "tiny.gguf")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_whole_file_keeps_what_it_says_and_has_smaller_matrices(model: Path, tmp_path: Path, precision: str) -> None:
    before, target = read_gguf(model), tmp_path / "made.gguf"
    with target.open("wb") as file:
        quantize(model, precision, file.write)
    after = read_gguf(target)
    assert after.precision == precision
    assert [each.name for each in after.tensors] == [each.name for each in before.tensors]
    assert [each.shape for each in after.tensors] == [each.shape for each in before.tensors]
    assert after.chat_template == before.chat_template
    kinds = {each.name: each.type.name for each in after.tensors}
    assert kinds["blk.0.attn_q.weight"] == precision
    assert kinds["output_norm.weight"] == "F32"
    last = "output.weight" if "output.weight" in kinds else "token_embd.weight"
    assert kinds[last] == ("Q8_0" if precision in ("Q5_0", "Q4_0") else precision)
    assert [each.type.name for each in planned_types(before, precision)] == list(kinds.values())


def test_what_cannot_be_quantised_is_refused_with_the_reason(model: Path, tmp_path: Path) -> None:
    made, lora = tmp_path / "made.gguf", tmp_path / "lora.gguf"
    lora.write_bytes(adapter())
    with made.open("wb") as file:
        quantize(model, "Q8_0", file.write)
    with pytest.raises(UserError, match=r"few bits already \(Q8_0\)"):
        quantize(made, "Q4_0", lambda piece: None)
    with pytest.raises(UserError, match="is an adapter"):
        quantize(lora, "Q4_0", lambda piece: None)
    with pytest.raises(UnknownName, match="no precision named 'Q3_K'; known: BF16, F16, Q4_0, Q5_0, Q8_0"):
        quantize(model, "Q3_K", lambda piece: None)


@pytest.mark.parametrize(("number", "precision"), [(1e30, "Q8_0"), (7e4, "F16"), (np.nan, "Q4_0"), (np.inf, "BF16")])
def test_numbers_that_a_precision_does_not_hold_are_refused(model: Path, number: float, precision: str) -> None:
    tensor = next(each for each in read_gguf(model).tensors if each.name == "blk.0.attn_q.weight")
    assert tensor.type.name == "F32"
    with model.open("r+b") as file:
        file.seek(tensor.offset + 4 * 5)
        file.write(np.float32(number).tobytes())
    with pytest.raises(
        UserError, match=r"blk\.0\.attn_q\.weight holds (1e\+30|70000|nan|inf), .* choose another precision"
    ):
        quantize(model, precision, lambda piece: None)
