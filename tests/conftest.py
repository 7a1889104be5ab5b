"""The tests start the backend as the doors do: deterministic, before anything imports keras."""

from experiments.harness.runtime import determinism


def pytest_configure(config):
    if config.getoption("numprocesses", None) is None:  # else its workers do, with our environment
        determinism.start()


def pytest_collection_modifyitems(items):
    """Begin with the doors: they take longest, and shared out the tests end about together."""
    items.sort(key=lambda item: len(item.path.parts))
