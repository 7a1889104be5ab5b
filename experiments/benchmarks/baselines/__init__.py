"""The same training without the harness, or by the harness as a user runs it."""
