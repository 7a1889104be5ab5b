"""The tests start the backend as the doors do: deterministic, before anything imports keras."""

from experiments.harness import determinism


def pytest_configure(config):
    if config.getoption("numprocesses", None) is None:  # else its workers do, with our environment
        determinism.start()
