"""What the template of all processes of a deployment on its own machine forks."""

from __future__ import annotations

from functools import partial

from synfire.deploy.forking import Roles
from synfire.deploy.join import template as workers
from synfire.deploy.roles import controller, gateway
from synfire.deploy.roles.lifeline import live
from synfire.deploy.roles.told import ControllerTold, GatewayTold

ROLES: Roles = {
    **workers.ROLES,
    controller.__name__: partial(live, ControllerTold, controller.control),
    gateway.__name__: partial(live, GatewayTold, gateway.serve),
}
