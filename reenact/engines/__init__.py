"""What executes a network: one file an engine, behind one protocol."""
