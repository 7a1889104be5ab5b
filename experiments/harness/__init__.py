"""How a run is made, kept and judged."""
