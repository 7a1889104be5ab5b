"""Work that takes hours, as a list of jobs, done in slices of a few minutes."""
