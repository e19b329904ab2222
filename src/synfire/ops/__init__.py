"""Operators: one file each, with parameters, equation, shape rule, state and reference step."""

from synfire.ops.operator import OPERATORS, Encoder, Operator, State, Stateless, operator
from synfire.ops.signal import Array, Clock, Kind, Signal

__all__ = ["OPERATORS", "Array", "Clock", "Encoder", "Kind", "Operator", "Signal", "State", "Stateless", "operator"]
