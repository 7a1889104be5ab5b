"""Tasks, and the executors that run them: this process, processes of this machine, a cluster."""
