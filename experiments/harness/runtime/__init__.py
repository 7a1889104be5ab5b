"""The process that a run happens in: backends, signals, files, other processes."""
