"""What is recorded of a training: of a ``fit``, or of the steps that the script takes itself."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from experiments.auditing.recording import internals
from experiments.auditing.recording.checksums import batch_checksums, log_values, tensor_digest
from experiments.auditing.recording.event_log import EventLog
from experiments.auditing.recording.state import (
    Detail,
    Variables,
    generators,
    is_deleted,
    size,
    training_variables,
    value,
)

AFTER_EPOCH = "after the epoch"  # instead of a step's number
GROWTH = 1.5  # between the steps of a loop at which all weights are recorded
SMALL = 1024  # elements of the variables that are recorded at each step of a loop
FEW = 8  # of them
_MODULUS = 2**64


class Stream:
    """The checksums of the batches that one iterator over the data has delivered."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self.batches: deque[tuple[dict[str, str], int]] = deque()

    def add(self, batch: Any) -> None:
        """Add a batch, as the model is fed it."""
        with self.log.recording():
            self.batches.append(batch_checksums(batch))


class Training:
    """A training of one or several models, numbered in the order of their first steps."""

    def __init__(self, log: EventLog, number: int, detail: Detail | None) -> None:
        self.log, self.number = log, number
        self.detail = detail if detail and detail.training == number else None

    def begin(self, kind: str, name: str, line: str, **fields: Any) -> None:
        """Record that the training begins."""
        self.log.write("begin", training=self.number, kind=kind, model=name, line=line, **fields)

    def record_state(
        self,
        variables: Variables,
        when: str,
        epoch: int | None = None,
        step: int | None = None,
        logs: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> None:
        """Record a digest of each variable, the generators' states, and the logs."""
        self.log.write(
            "state",
            training=self.number,
            when=when,
            epoch=epoch,
            step=step,
            tensors={path: tensor_digest(value(v)) for path, v in variables.items()},
            logs=log_values(logs),
            random=generators(),
            **fields,
        )


class FitTraining(Training):
    """One call of ``fit``: its state and batches, epoch by epoch."""

    def __init__(self, log: EventLog, number: int, detail: Detail | None, model: Any) -> None:
        super().__init__(log, number, detail)
        self.model = model
        self.has_iterator = self.was_built = False
        self.stream, self.begun = Stream(self.log), 0
        self.fed: list[tuple[Stream, int]] = []  # the steps of the epoch, by stream
        self.epoch = 0

    def variables(self) -> Variables:
        """Return all variables of the training state, by path."""
        return training_variables([self.model])

    def new_stream(self) -> Stream:
        """Return the stream of the iterator that is made now."""
        self.stream = Stream(self.log)
        return self.stream

    def step_begins(self, count: int) -> None:
        """Note that ``count`` batches are taken from the newest stream."""
        self.record_first_step()
        self.fed.append((self.stream, count))

    def record_first_step(self) -> None:
        """Record the state after the first step of a model that did not exist before it."""
        if not self.was_built and self.fed:
            self.was_built = True
            with self.log.recording():
                first = self.fed[0][0].batches
                checksums, _ = first[0] if first else ({}, 0)
                self.record_state(self.variables(), "first step", 1, 1, batch=checksums)

    def train_begins(self) -> None:
        """Record the initial state, if the model has one by now: at least that of models in it."""
        self.fed.clear()  # Keras may have looked at a batch to build the model
        self.was_built = bool(self.model.built)
        if self.was_built or self.model.weights:
            with self.log.recording():
                self.record_state(self.variables(), "start", epoch=0)
                if self.detail and self.detail.epoch == 0:
                    self.detail.record(self.log, 0, self.variables())
                    self.log.stop()

    def epoch_begins(self) -> None:
        """Forget the last epoch's batches."""
        self.fed.clear()

    def epoch_ends(self, epoch: int, logs: Mapping[str, Any] | None) -> None:
        """Record the epoch's batches and the state after it; ``epoch`` counts from 1."""
        self.record_first_step()
        self.epoch = epoch
        if self.detail and self.detail.epoch == epoch:
            self.detail.record(self.log, AFTER_EPOCH, self.variables())
        with self.log.recording():
            batches = [
                stream.batches.popleft()
                for stream, count in self.fed
                for _ in range(min(count, len(stream.batches)))
            ]
            self.fed.clear()
            names = dict.fromkeys(name for checksums, _ in batches for name in checksums)
            self.log.write(
                "batches",
                training=self.number,
                epoch=epoch,
                count=len(batches),
                checksums={
                    name: "".join(f"{checksums.get(name, ''):8}" for checksums, _ in batches)
                    for name in names
                },
                examples=f"{sum(examples for _, examples in batches) % _MODULUS:016x}",
            )
            self.record_state(self.variables(), "epoch", epoch=epoch, logs=logs)

    def step_ends(self, step: int) -> None:
        """Record a step in detail, if it is within the epoch asked for; both count from 1."""
        if self.detail and self.detail.epoch == self.epoch + 1:
            internals.sync(self.model)
            self.detail.record(self.log, step, self.variables())

    def ends(self) -> None:
        """Record the state that callbacks have left, such as restored or averaged weights."""
        with self.log.recording():
            self.record_state(self.variables(), "end", epoch=self.epoch)


class StepTraining(Training):
    """Steps that the script takes itself: their batches, and their state now and then.

    At each step the batch, what the step returned and a few small variables are recorded; all
    variables at steps 1, 2, 3, 4, 6, 9 and so on, and at the end of the script.
    """

    def __init__(self, log: EventLog, number: int, detail: Detail | None) -> None:
        super().__init__(log, number, detail)
        self.step, self.due, self.last_recorded = 0, 1, 0
        self.owners: list[weakref.ref[Any]] = []  # models and optimisers
        self.own_variables: list[weakref.ref[Any]] = []

    def follow(self, owners: Iterable[Any], variables: Iterable[Any] = ()) -> None:
        """Record the variables of these models and optimisers, too, and these variables."""
        for known, new in ((self.owners, owners), (self.own_variables, variables)):
            present = {id(each()) for each in known}
            known += [weakref.ref(each) for each in new if id(each) not in present]

    def variables(self) -> Variables:
        """Return the variables that still exist, by path."""
        owners = [owner() for owner in self.owners]
        variables = [variable() for variable in self.own_variables]
        return training_variables(
            [owner for owner in owners if owner is not None],
            [variable for variable in variables if variable is not None],
        )

    def record_start(self) -> None:
        """Record the state before the first step."""
        variables = self.variables()
        self.record_state(variables, "start", step=0)
        if self.detail and self.detail.last == 0:
            self.detail.record(self.log, 0, variables)
            self.log.stop()

    def step_ends(
        self,
        batch: tuple[Mapping[str, str], int],
        logs: Mapping[str, Any] | None,
        variables: Variables | None = None,
    ) -> None:
        """Record a step; ``variables`` are the state if none of Keras's variables holds it."""
        self.step += 1
        checksums, examples = batch
        current = self.variables() if variables is None else variables
        self.log.write(
            "step",
            training=self.number,
            step=self.step,
            checksums=checksums,
            examples=f"{examples:016x}",
            logs=log_values(logs),
            small=self._small(current),
        )
        if self.step >= self.due:
            self.due = max(self.due + 1, int(self.due * GROWTH))
            self.last_recorded = self.step
            self.record_state(current, "step", step=self.step)
        if self.detail and self.detail.first <= self.step <= self.detail.last:
            self.detail.record(self.log, self.step, current)
            if self.step == self.detail.last:
                self.log.stop()

    def ends(self) -> None:
        """Record the last state, if the models still exist at the end of the script.

        Without a step's number if the steps were within a compiled function, unseen.
        """
        variables = {path: v for path, v in self.variables().items() if not is_deleted(v)}
        if variables and (self.last_recorded < self.step or not self.step):
            self.record_state(variables, "end", step=self.step or None)

    def _small(self, variables: Variables) -> str:
        """Return a digest of the first small variables, which a step's difference soon reaches."""
        chosen = [v for v in variables.values() if size(v) <= SMALL][:FEW]
        return "".join(tensor_digest(value(variable))[:4] for variable in chosen)
