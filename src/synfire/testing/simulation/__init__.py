"""The control plane, the data plane and the workers in one process on virtual time, under failures drawn from a seed.

    python -m synfire.testing.simulation --seed 7      tells the story of one seed

Real are the data plane, the routes, the gateway's connections, the deployment with its controller, and the workers with
their cores; in two of five seeds the supervisor, the controller and the gateways, too, as processes that are killed (`served`).
Simulated are the event loop, the links, the processes and the clock. A seed gives one `Schedule`, and that one
run exactly. What must hold (`verdict`) is checked throughout, and the first thing that does not hold ends the run.
"""

from synfire.testing.simulation.schedules import Asked, Fault, Schedule, random_schedule
from synfire.testing.simulation.simulation import Run, run, shrunk

__all__ = ["Asked", "Fault", "Run", "Schedule", "random_schedule", "run", "shrunk"]
