"""Keras models: building, variables, gradients, metrics and probes."""
