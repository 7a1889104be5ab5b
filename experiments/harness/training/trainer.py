"""One run, trained from wherever it stands. Import it only after ``determinism.start()``."""

from __future__ import annotations

from pathlib import Path

from experiments.harness.data import order
from experiments.harness.data.dataset import Dataset
from experiments.harness.data.keras_input import evaluation_input, training_input
from experiments.harness.model.build import build_for_run, export
from experiments.harness.runtime import signals, tf_memory
from experiments.harness.runtime.backends import refuse_keras_limits, translate_backend_errors
from experiments.harness.runtime.log import logger
from experiments.harness.spec import Run
from experiments.harness.training.callbacks import (
    CheckpointCallback,
    EvaluationCallback,
    InterruptCallback,
    RandomStateCallback,
    make_callbacks,
)
from experiments.harness.training.options import TrainOptions
from experiments.harness.training.resume import restore_or_init


@translate_backend_errors()
@signals.defer_signals()
@tf_memory.release_models()
def train(
    run: Run,
    directory: Path,
    dataset: Dataset,
    options: TrainOptions = TrainOptions(),  # noqa: B008 (frozen)
) -> Run:
    """Train ``run.spec`` in ``directory``, and return the run as it is afterwards.

    A killed or interrupted run resumes after its last whole interval, to the same bits as an
    undisturbed one. The returned status is ``complete`` at the arm's last interval, ``partial`` if
    ``options`` stopped it before. Raises ``UserError`` if the directory belongs to another run or a
    file cannot be written.
    """
    refuse_keras_limits()
    spec, arm = run.spec, run.spec.arm
    end = options.last_interval(arm.intervals)
    model, learning_rate = build_for_run(spec, dataset)
    evaluation = EvaluationCallback(spec, dataset, model)
    first = restore_or_init(model, spec, directory / "state", evaluation)
    if first.interval:
        logger.info(f"resuming after interval {first.interval} of {arm.intervals}")
    saving = CheckpointCallback(run, directory, first, options)
    batches = order.batches(
        dataset,
        spec.seed,
        arm.batch_size,
        first_step=first.interval * arm.steps,
        held_out=arm.held_out,
        on_batch=saving.record_batch,
    )
    try:
        if first.interval < end and not saving.should_stop:
            model.fit(
                training_input(batches),
                steps_per_epoch=arm.steps,
                initial_epoch=first.interval,
                epochs=end,
                shuffle=False,
                validation_data=evaluation_input(
                    dataset.test(slice(arm.test_examples)), arm.test_batch
                ),
                callbacks=[
                    InterruptCallback(),
                    *make_callbacks(spec, directory, evaluation, learning_rate, options),
                    saving,
                    RandomStateCallback(first.tensors),
                    *options.callbacks,
                ],
                verbose=options.verbose,
            )
        export(model, saving.checkpoint.tensors, directory)
    except KeyboardInterrupt:
        saving.write_record("interrupted")
        raise
    return saving.finish()
