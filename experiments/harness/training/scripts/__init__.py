"""A user's own script, recorded and resumed. Import it only after the backend is chosen."""
