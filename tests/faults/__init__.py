"""What a server, or what stands before it, can do to a bridge; see `tests.support.fault_server`."""
