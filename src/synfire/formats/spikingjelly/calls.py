"""Which functions and methods a traced forward may call."""

from __future__ import annotations

import operator as python
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from synfire.formats.spikingjelly import arithmetic, layout, reductions

Call = Callable[..., Any]
"""`call(context, name, *args, **kwargs)` with tensors as `Held`; arguments are named as torch names them."""


FUNCTIONS: dict[Any, Call] = {
    python.add: arithmetic.add, python.iadd: arithmetic.add, torch.add: arithmetic.add, python.sub: arithmetic.sub,
    python.isub: arithmetic.sub, torch.sub: arithmetic.sub, torch.rsub: arithmetic.rsub, python.mul: arithmetic.mul,
    python.imul: arithmetic.mul, torch.mul: arithmetic.mul, torch.multiply: arithmetic.mul,
    python.truediv: arithmetic.div, torch.div: arithmetic.div, python.neg: arithmetic.neg, torch.neg: arithmetic.neg,
    python.matmul: arithmetic.matmul, torch.matmul: arithmetic.matmul, torch.bmm: arithmetic.matmul,
    F.linear: arithmetic.linear, torch.mean: reductions.mean, torch.sum: reductions.total,
    torch.flatten: layout.flatten, torch.unflatten: layout.unflatten, torch.reshape: layout.reshape,
    torch.transpose: layout.transpose, torch.permute: layout.permute, torch.squeeze: layout.squeeze,
    torch.unsqueeze: layout.unsqueeze, torch.cat: layout.cat, torch.concat: layout.cat, torch.chunk: layout.chunk,
    torch.split: layout.split, python.getitem: layout.getitem, F.max_pool1d: reductions.max_pool(1),
    F.max_pool2d: reductions.max_pool(2), F.avg_pool1d: reductions.avg_pool(1), F.avg_pool2d: reductions.avg_pool(2),
    F.adaptive_avg_pool1d: reductions.adaptive_avg_pool(1), F.adaptive_avg_pool2d: reductions.adaptive_avg_pool(2),
    F.dropout: reductions.dropout, torch.clone: layout.same,
}  # fmt: skip

METHODS: dict[str, Call] = {
    "add": arithmetic.add, "sub": arithmetic.sub, "mul": arithmetic.mul, "multiply": arithmetic.mul,
    "div": arithmetic.div, "neg": arithmetic.neg, "matmul": arithmetic.matmul, "bmm": arithmetic.matmul,
    "mean": reductions.mean, "sum": reductions.total, "flatten": layout.flatten, "unflatten": layout.unflatten,
    "reshape": layout.reshape, "view": layout.reshape, "transpose": layout.transpose, "permute": layout.permute,
    "squeeze": layout.squeeze, "unsqueeze": layout.unsqueeze, "repeat": layout.repeat, "expand": layout.expand,
    "chunk": layout.chunk, "split": layout.split, "contiguous": layout.same, "clone": layout.same,
    "detach": layout.same, "to": layout.to, "float": layout.same, "type_as": layout.same, "dim": layout.dim,
    "ndimension": layout.dim, "size": layout.size,
}  # fmt: skip
