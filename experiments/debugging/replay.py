"""A step that a run made, visited again: from the nearest state, kept or recomputed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.debugging.nan_cause import NanCause, find_nan_cause
from experiments.debugging.step_tensors import StepTensor, step_tensors
from experiments.harness.data.dataset import Dataset
from experiments.harness.spec import Run, batching, identity
from experiments.harness.storage import checkpoint
from experiments.harness.storage.checkpoint import Checkpoint
from experiments.harness.storage.fingerprint import CHECKSUM_DIGITS, batch_checksum
from experiments.harness.training.stepper import Step, Stepper
from experiments.harness.training.trainer import train


@dataclass(frozen=True)
class InspectedStep:
    """A step, the tensors that it is made of, in order, and what became of them, if not finite."""

    step: Step
    made: list[StepTensor]
    story: NanCause | None


@dataclass(frozen=True)
class Replay:
    """Visits to the steps of ``run``.

    ``kept`` are folders of its states, which are only read; ``scratch`` is a directory to recompute
    others in. ``doubts`` say why a visit may not be exact: it is to the bit where there are none.
    """

    run: Run
    kept: tuple[Path, ...]
    scratch: Path
    dataset: Dataset
    tell: Callable[[str], None]
    doubts: list[str] = field(default_factory=list)

    def visit(self, number: int) -> InspectedStep:
        """Return step ``number``, from 1 to the last one that the run made."""
        stepper = self._stepper((number - 1) // self.run.arm.steps)
        if stepper.done < number - 1:
            stepper.advance(number - 1)
        return self._visit(stepper, stepper.take())

    def first_nonfinite(self) -> InspectedStep | None:
        """Return the first step whose loss, or a variable after it, is not finite, if any is."""
        history = self.run.history
        losses = [*zip(history["loss"], history["test_loss"], strict=True)] if history else []
        for interval in checkpoint.nonfinite_candidates(losses):
            self.tell(f"looking for the step in interval {interval} of {self.run.intervals}")
            stepper = self._stepper(interval - 1)
            while stepper.done < stepper.end:
                if not (step := stepper.take()).finite:
                    return self._visit(stepper, step)
        return None

    def _visit(self, stepper: Stepper, step: Step) -> InspectedStep:
        interval, place = divmod(step.number - 1, self.run.arm.steps)
        marks = self.run.digests[interval + 1].get("batches", "")  # older runs have none
        if marks and marks[
            place * CHECKSUM_DIGITS : (place + 1) * CHECKSUM_DIGITS
        ] != batch_checksum(step.indices):
            self.doubts.append(f"the batch of step {step.number} is not the record's")
        made = step_tensors(stepper.model, step)
        reasons: Mapping[str, str] = getattr(stepper.model.loss, "reasons", {})
        return InspectedStep(step, made, find_nan_cause(step, made, reasons))

    def _stepper(self, interval: int) -> Stepper:
        return Stepper(self.run, self.dataset, self._state(interval))

    def _state(self, interval: int) -> Checkpoint:
        """Return the state after ``interval`` intervals, recomputed where it is not kept."""
        nearest = self._nearest(interval)
        found = nearest
        if found is None or found.interval < interval:
            found = self._recomputed(nearest, interval)
        if found.chain != self.run.chain[: interval + 1]:
            self.doubts.append(f"after {interval} intervals the bits are not the record's")
        return found

    def _recomputed(self, nearest: Checkpoint | None, interval: int) -> Checkpoint:
        folder, begin = self.scratch / "state", nearest.interval if nearest else 0
        if nearest:
            checkpoint.save(nearest, folder)
        seconds = self.run.seconds / self.run.intervals * (interval - begin)
        if interval > begin:
            self.tell(f"recomputing intervals {begin + 1} to {interval}, about {seconds:.0f} s")
        train(self.run, self.scratch, self.dataset, intervals=interval, tell=lambda _: None)
        return checkpoint.load(checkpoint.path(folder, interval))

    def _nearest(self, interval: int) -> Checkpoint | None:
        nearest = None
        for folder in (*self.kept, self.scratch / "state"):
            found, damaged = checkpoint.load_newest(folder, until=interval)
            for line in damaged:
                self.tell(line)
            if found and found.owner == identity.run_id(self.run):
                nearest = max(found, nearest or found, key=lambda one: one.interval)
        return nearest


@contextmanager
def open_replay(
    run: Run,
    directory: Path,
    dataset: Dataset,
    environment: Mapping[str, Any],
    tell: Callable[[str], None],
) -> Iterator[Replay]:
    """Yield the replay of the run in ``directory``, in this ``environment``; write nothing there.

    ``dataset`` is what the run was trained on (``datasets.recorded``).
    """
    here = dict(environment)
    if run.environment.get(batching.FIELD) == batching.IN_TURN:  # a step is as in a run alone
        here[batching.FIELD] = batching.IN_TURN
    differing = identity.differences(dict(run.environment), here)
    doubts = [f"environment: {path} ({a} there, {b} here)" for path, a, b in differing]
    # Another backend's or device's variables and generators cannot be put into this one's.
    usable = not any(path in ("backend", "device") for path, _, _ in differing)
    with tempfile.TemporaryDirectory(prefix="replay-") as scratch:
        kept = (directory / "state",) if usable else ()
        yield Replay(run, kept, Path(scratch), dataset, tell, doubts)
