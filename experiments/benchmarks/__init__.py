"""Other ways to train, timed beside the harness on the same work."""
