"""The engine for Python functions: each in a process of its own, beside a worker."""

from synfire.engines.functions.engine import FunctionEngine

__all__ = ["FunctionEngine"]
