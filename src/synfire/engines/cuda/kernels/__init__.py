"""Triton kernels, each with the canonical order of sums. They are built without fused multiply-add: see `launching`."""
