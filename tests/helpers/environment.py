"""The environment of the process that the tests run in."""

from experiments.harness.runtime import determinism

determinism.start()
ENVIRONMENT = determinism.environment()
