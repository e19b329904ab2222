"""The gateway's ASGI application: every registered API over one data plane."""

from __future__ import annotations

from synfire.gateway.api import endpoints_of
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.http import App, Router


def build_app(plane: DataPlane) -> App:
    """The application that any ASGI server can run; `synfire.gateway.server` runs it with gRPC beside it."""
    return App(Router(endpoints_of(plane)), plane.limits)
