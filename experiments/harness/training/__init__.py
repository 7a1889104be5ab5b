"""A run's training: from its last checkpoint to its end."""
