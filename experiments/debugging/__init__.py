"""Any training step of a run, replayed and inspected."""
