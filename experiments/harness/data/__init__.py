"""Datasets, and the order in which their examples are trained on."""
