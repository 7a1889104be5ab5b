"""What the tests of a cluster do in its nodes' processes; imports no backend."""

import os
import time
from pathlib import Path

import numpy as np

from experiments.harness.runtime.log import logger
from experiments.harness.spec import History
from experiments.harness.storage import checkpoint
from experiments.harness.storage.checkpoint import Checkpoint


def describe_process(seconds: float = 0.0) -> list:
    time.sleep(seconds)
    return [os.getpid(), os.environ.get("OMP_NUM_THREADS")]


def edit(directory: str, given: str) -> list[str]:
    """Rewrite a directory; return the names in the folder that it is in."""
    path = Path(directory)
    assert (path / "old").read_text() == Path(given, "input").read_text()
    (path / "old").unlink()
    (path / "new").write_text("new" * 100_000)
    time.sleep(0.5)
    return sorted(entry.name for entry in path.parent.iterdir())


def names(folder: str) -> list[str]:
    time.sleep(1.0)  # the other node's turn
    return [str(path) for path in Path(folder).glob("*/*/*") if path.name != ".lock"]


def announce_and_save(folder: str) -> None:
    """Outlast the test; save a file if interrupted."""
    logger.info(f"process {os.getpid()}")
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        (Path(folder) / "saved").touch()
        raise


def save_states(folder: str) -> list[int]:
    """Save eight states from the newest on; return their intervals."""
    newest, _ = checkpoint.load_newest(Path(folder) / "state")
    intervals = [*range(newest.interval + 1 if newest else 0, 8)]
    for count in intervals:
        history = History(tuple({"step": k, "loss": 1.0} for k in range(count)))
        links, digests = ("",) * (count + 1), ({},) * (count + 1)
        state = Checkpoint("id", count, {"w": np.zeros(9)}, {}, history, links, digests, 0.0, 0.0)
        checkpoint.save(state, Path(folder) / "state")
        time.sleep(1.0)
    return intervals
