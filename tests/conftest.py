"""What all tests share."""

from __future__ import annotations

import os

from hypothesis import settings

from synfire.base import paths

# What is measured about a machine is kept from test to test, also by those with a SYNFIRE_HOME of their own: measuring starts workers.
os.environ.setdefault("SYNFIRE_CACHE", str(paths.cache().absolute()))

settings.register_profile("synfire", deadline=None)  # a busy machine is no failure
settings.load_profile("synfire")
