"""Workers of other machines: they join a deployment at its door, and are then as its own."""
