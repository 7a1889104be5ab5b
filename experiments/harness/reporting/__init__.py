"""Results as tables, plots, pages and TensorBoard events."""
