"""Profiles: the ways in which a model can be served on this machine, what each needs, and how it was measured to do."""
