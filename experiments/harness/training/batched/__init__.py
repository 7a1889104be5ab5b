"""Runs that differ in initial values, seeds and rates alone, trained together: one program, JAX's.

``grouping`` says which; ``training.train`` is for a group what ``harness.training.train`` is for a
run.
"""
