"""How every kernel is launched: products are rounded before they are added, as the reference step does it."""

from __future__ import annotations

from typing import Any

import triton


def launch(kernel: Any, grid: tuple[int, ...], *arguments: Any, **constants: Any) -> None:
    """Run `kernel` on the current stream, on `grid` programs, without contraction of products and sums."""
    kernel[grid](*arguments, **constants, enable_fp_fusion=False)


def block(size: int, most: int) -> int:
    """The power of two that covers `size` lanes, at most `most`."""
    return min(triton.next_power_of_2(max(size, 1)), most)


def blocks(size: int, each: int) -> int:
    """How many blocks of `each` lanes cover `size`."""
    return -(-size // each)
