"""A search shared by several worker processes."""
