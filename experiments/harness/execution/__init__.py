"""Tasks, and what carries them out: this process, processes of this machine, or a cluster."""
