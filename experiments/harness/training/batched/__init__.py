"""Runs that differ only in initial values, seeds and rates, trained as one program, on JAX.

``spec.batching`` says which runs can share a program.
"""
