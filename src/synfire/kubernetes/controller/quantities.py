"""Sizes as Kubernetes writes them."""

from __future__ import annotations

from synfire.base.errors import UserError

_UNITS = {
    "": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40,
}  # fmt: skip


def bytes_of(text: str) -> int:
    """`1Gi` → 2³⁰. Raises `UserError`."""
    digits = text.rstrip("".join(set("".join(_UNITS))))
    try:
        return int(float(digits) * _UNITS[text[len(digits) :]])
    except (KeyError, ValueError) as error:
        raise UserError(f"{text!r} is no quantity of bytes; write it like 512Mi or 2Gi") from error
