"""Start the backend as the commands do: deterministic, before anything imports keras."""

from experiments.harness.runtime import determinism

LONG = ("tests", "training")  # folders


def pytest_configure(config):
    if not config.getoption("numprocesses", None):  # else the workers start, with our environ
        determinism.start()


def pytest_collection_modifyitems(items):
    """Run the files that take longest first, so that parallel workers end together."""
    items.sort(key=lambda item: (item.path.parent.name not in LONG, len(item.path.parts)))
