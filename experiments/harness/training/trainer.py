"""From an arm as data to a finished run. Import it only after ``determinism.start()``."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

from experiments.harness.data import order
from experiments.harness.data.dataset import Dataset
from experiments.harness.data.keras_input import Arrays, Batches
from experiments.harness.model.build import build_for_run, export
from experiments.harness.runtime import signals, tf_memory
from experiments.harness.runtime.backends import translate_backend_errors
from experiments.harness.spec import Run
from experiments.harness.storage.checkpoint import Checkpoint
from experiments.harness.training.callbacks import (
    CheckpointCallback,
    EvaluationCallback,
    InterruptCallback,
    RandomStateCallback,
    make_callbacks,
)
from experiments.harness.training.resume import restore_or_init


@translate_backend_errors()
@signals.defer_signals()
@tf_memory.release_models()
def train(
    run: Run,
    directory: Path,
    dataset: Dataset,
    *,
    intervals: int | None = None,
    deadline: float = math.inf,
    enough: Callable[[Checkpoint], bool] = lambda _: False,
    telemetry: int | None = None,
    verbose: int = 0,
    tell: Callable[[str], None] = print,
) -> Run:
    """Train ``run`` in ``directory``, from wherever it stands there, and return it as it is then.

    ``run`` says what is to be trained: its arm, seed, dataset and environment. Stops after
    ``intervals`` intervals in all, at a state that is ``enough``, or after the first interval that
    ends at ``deadline`` (of ``time.monotonic``) or later (status ``partial``), else at the arm's
    own end; with 0 only the initial state is kept. A killed or interrupted run goes on from its
    last whole interval, to the same bits as one undisturbed. ``telemetry`` says after how
    many intervals each TensorBoard gets histograms, with 0 it gets nothing. ``verbose`` is Keras's;
    ``tell`` gets a line for whatever the user should know. Raises ``UserError`` where the directory
    is another run's or a file cannot be written.
    """
    arm = run.arm
    end = arm.intervals if intervals is None else min(intervals, arm.intervals)
    model, learning_rate = build_for_run(run)
    observer = EvaluationCallback(run, dataset, model)
    begun = restore_or_init(model, run, directory / "state", observer, tell)
    keeper = CheckpointCallback(
        run, directory, begun, lambda now: enough(now) or time.monotonic() >= deadline
    )
    done = keeper.state.interval
    try:
        if done < end and not enough(begun):
            model.fit(
                Batches(
                    order.batches(
                        dataset,
                        run.seed,
                        arm.batch_size,
                        done * arm.steps,
                        arm.held_out,
                        keeper.fed,
                    )
                ),
                steps_per_epoch=arm.steps,
                initial_epoch=done,
                epochs=end,
                shuffle=False,
                validation_data=Arrays(dataset.test(slice(arm.test_examples)), arm.test_batch),
                callbacks=[
                    InterruptCallback(),
                    *make_callbacks(run, directory, observer, learning_rate, telemetry),
                    keeper,
                    RandomStateCallback(keeper.state.tensors),
                ],
                verbose=verbose,
            )
        export(model, directory)
    except KeyboardInterrupt:
        keeper.write("interrupted")
        raise
    return keeper.end()
