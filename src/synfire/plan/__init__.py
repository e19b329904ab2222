"""Plans: cut a graph into stages, place them on workers, say why. Pure functions on frozen data."""

from synfire.plan.plan import GATEWAY, Link, Plan, Stage, stage_graph

__all__ = ["GATEWAY", "Link", "Plan", "Stage", "stage_graph"]
