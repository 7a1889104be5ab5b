"""Datasets, and the order of their training examples."""
