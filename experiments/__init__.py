"""Documented experiments, re-run exactly and judged."""
