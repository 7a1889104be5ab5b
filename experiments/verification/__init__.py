"""How a run is checked, and opened again: the same bits, any step, this machine's promise."""
