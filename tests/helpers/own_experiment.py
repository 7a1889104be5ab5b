"""The example of docs/own_experiment.md, and small changes of it, as files."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from experiments.harness.storage import source_code

PAGE = Path(__file__).parents[2] / "docs" / "own_experiment.md"
QUIET = ["--telemetry-every", "0"]
SMALL = [*QUIET, "--set", "steps=2", "intervals=2", "test_examples=20"]


def write_example(folder: Path) -> Path:
    """Write the page's files into ``folder``; return the experiment's."""
    blocks = re.findall(r"`(\w+\.py)`,[^`]*```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    for name, text in blocks:
        (folder / name).write_text(text)
    assert len(blocks) == 2
    return folder / blocks[0][0]


def forget(folder: Path) -> None:
    """Make this process as one that has imported nothing from ``folder``."""
    for name, module in [*sys.modules.items()]:
        if str(folder) in str(getattr(module, "__dict__", {}).get("__file__")):
            del sys.modules[name]
    source_code._folders[:] = [each for each in source_code._folders if each != folder]
    sys.path[:] = [entry for entry in sys.path if entry != str(folder)]
    for path in [path for path in source_code._seen if path.is_relative_to(folder)]:
        del source_code._seen[path]


@contextmanager
def as_new_process(folder: Path) -> Iterator[None]:
    """Within the block, and after it, nothing from ``folder`` is imported."""
    forget(folder)
    try:
        yield
    finally:
        forget(folder)
