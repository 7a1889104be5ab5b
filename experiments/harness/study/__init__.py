"""Runs of an experiment: planned, trained or loaded, and judged."""
