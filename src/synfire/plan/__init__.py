"""Plans: cut a graph into stages, place them on workers, say why. Pure functions on frozen data."""

from synfire.plan.costs import Costs, Hop, assumed, encode, memory_bytes
from synfire.plan.cut import atoms, cut
from synfire.plan.offload import plan_offloaded
from synfire.plan.place import Room, Work, place, rooms
from synfire.plan.plan import GATEWAY, Link, Plan, Stage, stage_graph
from synfire.plan.planner import GRANULARITIES, Demand, explain, plan_all, plan_cut, plan_model
from synfire.plan.predict import Prediction, predict

__all__ = [
    "GATEWAY",
    "GRANULARITIES",
    "Costs",
    "Demand",
    "Hop",
    "Link",
    "Plan",
    "Prediction",
    "Room",
    "Stage",
    "Work",
    "assumed",
    "atoms",
    "cut",
    "encode",
    "explain",
    "memory_bytes",
    "place",
    "plan_all",
    "plan_cut",
    "plan_model",
    "plan_offloaded",
    "predict",
    "rooms",
    "stage_graph",
]
