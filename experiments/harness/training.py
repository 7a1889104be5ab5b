"""From an arm as data to a finished run. Import it only after ``determinism.start()``."""

from __future__ import annotations

import copy
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

import zoo.losses
from experiments.harness import data, files, interrupts, memory, probes, record, state
from experiments.harness.data import Dataset
from experiments.harness.determinism import explained, restore_random_state
from experiments.harness.feeding import Arrays, Batches
from experiments.harness.fingerprint import digest, link, mark
from experiments.harness.metrics import OWN
from experiments.harness.observer import Heeding, Observer
from experiments.harness.overrides import flat
from experiments.harness.spec import Arm, Run, Status, UserError
from experiments.harness.state import State
from experiments.harness.telemetry.callback import EVERY, Telemetry
from experiments.harness.tensors import read, write


@explained()
@interrupts.held()
@memory.released()
def train(
    run: Run,
    directory: Path,
    dataset: Dataset,
    *,
    intervals: int | None = None,
    deadline: float = math.inf,
    enough: Callable[[State], bool] = lambda _: False,
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
    model, learning_rate = prepared(run)
    observer = Observer(run, dataset, model)
    begun = begin(model, run, directory / "state", observer, tell)
    keeper = Keeper(run, directory, begun, lambda now: enough(now) or time.monotonic() >= deadline)
    done = keeper.state.interval
    try:
        if done < end and not enough(begun):
            model.fit(
                Batches(
                    data.batches(
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
                    Heeding(),
                    *watchers(run, directory, observer, learning_rate, telemetry),
                    keeper,
                    RandomState(keeper.state.tensors),
                ],
                verbose=verbose,
            )
        export(model, directory)
    except KeyboardInterrupt:
        keeper.write("interrupted")
        raise
    return keeper.end()


def export(model: keras.Model, directory: Path) -> None:
    """Save the network itself, for plain Keras."""
    with files.replacing(directory / "model.keras") as temporary:
        uncompiled = keras.Model(model.inputs, model.outputs, name=model.name)
        uncompiled.save(temporary)


def prepared(run: Run) -> tuple[keras.Model, Callable[[int], float]]:
    """Return the run's model before its first step, and the rate after so many intervals."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(run.seed)
    model = compiled(run.arm)
    first = float(model.optimizer.learning_rate)
    return model, lambda interval: first * run.arm.learning_rate_factor(interval)


def compiled(arm: Arm) -> keras.Model:
    """Build and compile what the arm describes; ``UserError`` where Keras does not take it."""
    try:
        model = zoo.build(arm.network["class_name"], **arm.network["config"])
        _freeze(model, arm.frozen)
        optimizer = keras.optimizers.get(copy.deepcopy(arm.optimizer))
        loss = keras.losses.get(copy.deepcopy(arm.loss))
        optimizer.build(model.trainable_variables)
        loss(np.zeros(1, "int32"), np.zeros((1, *model.output_shape[1:]), "float32"))
        if unknown := set(arm.probes) - set(probes.ALL):
            raise ValueError(f"no probe is called {unknown.pop()!r}; there are: {[*probes.ALL]}")
        for name in {*arm.metrics} - {*OWN, "accuracy"}:  # the rest only fails within fit
            keras.metrics.get(name)
        metrics = [OWN[name]() if name in OWN else name for name in arm.metrics]
    except Exception as error:  # each backend has its own for a loss that does not fit
        raise UserError(f"the arm cannot be built: {' '.join(str(error).split())[:300]}") from None
    model.compile(optimizer=optimizer, loss=loss, metrics=metrics)
    return model


def _freeze(model: keras.Model, names: Sequence[str]) -> None:
    variables = model.trainable_variables
    if unknown := set(names) - {variable.name for variable in variables}:
        raise ValueError(f"no variable to freeze is called {unknown.pop()!r}")
    for variable in variables:
        variable.trainable = variable.name not in names


def watchers(
    run: Run,
    directory: Path,
    observer: Observer,
    learning_rate: Callable[[int], float],
    telemetry: int | None,
    twin: Telemetry | None = None,
) -> list[keras.callbacks.Callback]:
    """Return the callbacks that set the rate, measure, and write what TensorBoard shows.

    ``twin`` writes it of another run with the same model.
    """
    first = [keras.callbacks.LearningRateScheduler(learning_rate), observer]
    if telemetry == 0:
        return first
    told = {"arm": run.arm_name, "seed": run.seed, "scale": run.scale, **flat(run.arm)}
    return [
        *first,
        Telemetry(
            directory,
            observer.batch,
            every=telemetry or EVERY,
            hyperparameters=told,
            twin=twin,
        ),
    ]


class RandomState(keras.callbacks.Callback):
    """At a fit's first batch, put generators outside the model to their state in ``tensors``."""

    def __init__(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        super().__init__()
        self.tensors, self.restored = tensors, False

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if not self.restored:  # fit itself draws on its way here, for PyTorch's data loader
            restore_random_state(self.tensors)
            self.restored = True


class Keeper(keras.callbacks.Callback):
    """After each epoch, hash the training's state and keep it on disk with the run's record."""

    def __init__(
        self, run: Run, directory: Path, begun: State, enough: Callable[[State], bool]
    ) -> None:
        super().__init__()
        self.run, self.directory, self.state, self.enough = run, directory, begun, enough
        self.marks: dict[int, str] = {}

    def fed(self, step: int, indices: NDArray[np.int64]) -> None:
        """Note which examples ``fit`` is given, maybe some steps before it trains on them."""
        self.marks[step] = mark(indices)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.clock = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.keep(epoch, read(self.model), logs or {}, time.perf_counter() - self.clock)
        self.model.stop_training = self.enough(self.state)

    def keep(
        self,
        epoch: int,
        tensors: Mapping[str, NDArray[Any]],
        logs: Mapping[str, float],
        seconds: float,
    ) -> None:
        """Keep what an epoch came to, after it: the state, then the record."""
        before, steps = self.state, self.run.arm.steps
        row = _row((epoch + 1) * steps, logs)
        marks = (self.marks.pop(step) for step in range(epoch * steps, (epoch + 1) * steps))
        now = State(
            owner=before.owner,
            interval=epoch + 1,
            initial=before.initial,
            tensors=tensors,
            rows=(*before.rows, row),
            chain=(*before.chain, link(before.chain[-1], tensors, row)),
            digests=(*before.digests, _digests(tensors, "".join(marks))),
            seconds=before.seconds + seconds,
        )
        state.save(now, self.directory / "state")
        self.state = now  # not before: an interrupted save must not be told as done
        self.write("running")

    def end(self) -> Run:
        """Write the record of the run at its end, its own or the one that was asked for."""
        return self.write(
            "complete" if self.state.interval == self.run.arm.intervals else "partial"
        )

    def write(self, status: Status) -> Run:
        """Write the record of the run as it is now, and return it."""
        rows = self.state.rows
        self.run = replace(
            self.run,
            status=status,
            initial=self.state.initial,
            history={name: tuple(row[name] for row in rows) for name in (rows[0] if rows else ())},
            chain=self.state.chain,
            digests=self.state.digests,
            seconds=self.state.seconds,
        )
        record.save(self.run, self.directory)
        return self.run


def begin(
    model: keras.Model,
    run: Run,
    folder: Path,
    observer: Observer,
    tell: Callable[[str], None],
    until: float = math.inf,
) -> State:
    """Put the newest state in ``folder`` into ``model``; where there is none, keep the first.

    States after more than ``until`` intervals are passed over.
    """
    owner = record.digest(run)
    found, warnings = state.newest(folder, until)
    for warning in warnings:
        tell(warning)
    if found is None:
        if warnings:
            tell("no sound state is left: starting over")
        initial, tensors = observer.before(model), read(model)
        chain, digests = (link("", tensors, initial),), (_digests(tensors),)
        begun = State(owner, 0, tensors, initial, (), chain, digests, 0.0)
        state.save(begun, folder)
        return begun
    if found.owner != owner:
        raise UserError(f"{folder} belongs to another run; name another --logdir, or use --fresh")
    if set(found.tensors) != set(read(model)):
        raise UserError(f"{folder} was left by another version of the network; use --fresh")
    tell(f"going on after interval {found.interval} of {run.arm.intervals}")
    write(model, found.tensors)
    return found


def _digests(tensors: Mapping[str, NDArray[Any]], marks: str = "") -> dict[str, str]:
    told = {path: digest(tensor) for path, tensor in tensors.items()}
    return {"batches": marks, **told} if marks else told


def _row(step: int, logs: Mapping[str, float]) -> dict[str, float]:
    """Return an interval's metrics under the names and in the order of ``history.csv``."""
    told = {"step": step, **{re.sub("^val_", "test_", name): v for name, v in logs.items()}}
    first = [name for name in record.COLUMNS if name in told]
    return {name: float(told[name]) for name in dict.fromkeys([*first, *told])}
