"""`python -m synfire.deploy.template MODULE LINK`: the template of the processes that a module has as its `ROLES`."""

from __future__ import annotations

import importlib
import sys

from synfire.base import garbage


def main() -> int | None:
    """Load everything, then fork; see `synfire.deploy.forking`."""
    module = sys.argv.pop(1)
    with garbage.loading():
        from synfire.deploy import forking

        roles: forking.Roles = importlib.import_module(module).ROLES
        forking.load()
    return forking.main(roles)


if __name__ == "__main__":
    sys.exit(main())
