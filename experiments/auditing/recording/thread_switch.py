"""Let the threads of a script run one after another, so that they cannot race."""

from __future__ import annotations

import concurrent.futures
import functools
import multiprocessing.pool
import threading
from typing import Any

from experiments.auditing.recording.import_hooks import ImportHooks, Note, called_by_script


def run_threads_in_turn(hooks: ImportHooks, note: Note) -> None:
    """Run the script's threads one after another, in the order in which they were started."""
    start = threading.Thread.start
    last: list[threading.Event] = []

    def start_in_turn(thread: threading.Thread) -> None:
        if called_by_script():
            note("threading.Thread")
            before, done, run = last[-1:], threading.Event(), thread.run
            last.append(done)

            def run_in_turn() -> None:
                for event in before:
                    event.wait()
                try:
                    run()
                finally:
                    done.set()

            thread.run = run_in_turn  # type: ignore[method-assign]
        start(thread)

    threading.Thread.start = start_in_turn  # type: ignore[method-assign, assignment]
    _limit_workers(concurrent.futures.ThreadPoolExecutor, "max_workers", note)
    _limit_workers(multiprocessing.pool.ThreadPool, "processes", note)
    hooks.after("keras", functools.partial(_limit_dataset_workers, note))


def _limit_workers(pool: Any, parameter: str, note: Note) -> None:
    """Let the script's pools of threads have one thread."""
    init = pool.__init__

    def limited(self: Any, *args: Any, **kwargs: Any) -> None:
        if called_by_script():
            note(pool.__name__)
            args, kwargs = args[1:], kwargs | {parameter: 1}
            if args:
                args, kwargs = (1, *args), {k: v for k, v in kwargs.items() if k != parameter}
        init(self, *args, **kwargs)

    pool.__init__ = limited


def _limit_dataset_workers(note: Note) -> None:
    import keras

    init = keras.utils.PyDataset.__init__

    def limited(self: Any, workers: int = 1, *args: Any, **kwargs: Any) -> None:
        if workers > 1:
            note(f"{type(self).__name__}(workers={workers})")
        init(self, 1, *args, **kwargs)

    keras.utils.PyDataset.__init__ = limited
