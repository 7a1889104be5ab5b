"""The process that a run trains in: backends, signals, files and other processes."""
