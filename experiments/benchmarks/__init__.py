"""What people would otherwise train with, beside the harness: the same work, timed in turns."""
