"""Train a run again and compare the bits, find where two runs diverge, and test this machine."""
