"""The template of all processes of a deployment on its own machine."""

from __future__ import annotations

import sys
from functools import partial

from synfire.deploy.forking import Roles, load, main
from synfire.deploy.join.template import WORKER
from synfire.deploy.roles import controller, gateway
from synfire.deploy.roles.lifeline import live

__all__ = ["ROLES", "load"]

ROLES: Roles = WORKER | {
    controller.__name__: partial(live, controller.ControllerTold, controller.control),
    gateway.__name__: partial(live, gateway.GatewayTold, gateway.serve),
}

if __name__ == "__main__":
    sys.exit(main(ROLES))
