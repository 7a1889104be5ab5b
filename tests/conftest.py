"""The tests start the backend as the doors do: deterministic, before anything imports keras."""

from experiments.harness import determinism

ENVIRONMENT = determinism.start()
