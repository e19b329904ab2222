"""What the template of workers that join forks: a machine that has nothing but these does without what controllers and gateways take to load."""

from __future__ import annotations

from synfire.deploy.forking import Roles
from synfire.worker import __main__ as worker
from synfire.worker import http

ROLES: Roles = {"synfire.worker": worker.live}

_LOADED = (http,)
"""Imported for what is forked, which asks for it only when it needs it."""
