"""Start the backend as the commands do: deterministic, before anything imports keras."""

from experiments.harness.runtime import determinism


def pytest_configure(config):
    if not config.getoption("numprocesses", None):  # else the workers start, with our environ
        determinism.start()


def pytest_collection_modifyitems(items):
    """Run the commands' tests first: they take longest, so that parallel workers end together."""
    items.sort(key=lambda item: len(item.path.parts))
