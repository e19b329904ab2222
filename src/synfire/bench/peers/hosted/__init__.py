"""What the other servers host: one module a server, which imports it, so it is run in the server's own processes only."""
