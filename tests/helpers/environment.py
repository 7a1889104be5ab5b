"""The environment that the tests run in; where they are shared out, that of each worker."""

from experiments.harness.runtime import determinism

ENVIRONMENT = determinism.start()
