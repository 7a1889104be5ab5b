"""Any step of a run, replayed from the nearest checkpoint, saved or recomputed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.debugging.nan_cause import NanCause, find_nan_cause
from experiments.debugging.step_tensors import StepTensor, step_tensors
from experiments.harness.data.dataset import Dataset
from experiments.harness.runtime import log
from experiments.harness.runtime.log import logger
from experiments.harness.spec import Run, batching, identity
from experiments.harness.storage import checkpoint
from experiments.harness.storage.checkpoint import Checkpoint
from experiments.harness.storage.fingerprint import CHECKSUM_DIGITS, batch_checksum
from experiments.harness.training.options import TrainOptions
from experiments.harness.training.stepper import Step, Stepper
from experiments.harness.training.trainer import train


@dataclass(frozen=True)
class InspectedStep:
    """A step, its tensors in the order in which they are computed, and the cause of a NaN."""

    step: Step
    tensors: list[StepTensor]
    nan_cause: NanCause | None


@dataclass(frozen=True)
class Replay:
    """Replays steps of ``run``.

    ``saved`` are folders of its checkpoints, which are only read; ``scratch`` is a directory to
    recompute others in. A replayed step is exact to the bit unless ``doubts`` say otherwise.
    """

    run: Run
    saved: tuple[Path, ...]
    scratch: Path
    dataset: Dataset
    doubts: list[str] = field(default_factory=list)

    def inspect(self, number: int) -> InspectedStep:
        """Return step ``number``, from 1 to the last step of the run."""
        stepper = self._stepper((number - 1) // self.run.spec.arm.steps)
        if stepper.done < number - 1:
            stepper.advance(number - 1)
        return self._inspect(stepper, stepper.take())

    def first_nonfinite(self) -> InspectedStep | None:
        """Return the first step with a nonfinite loss or a nonfinite variable after it, if any."""
        for interval in checkpoint.nonfinite_candidates(self.run.history):
            logger.info(f"looking for the step in interval {interval} of {self.run.intervals}")
            stepper = self._stepper(interval - 1)
            while stepper.done < stepper.end:
                if not (step := stepper.take()).finite:
                    return self._inspect(stepper, step)
        return None

    def _inspect(self, stepper: Stepper, step: Step) -> InspectedStep:
        interval, place = divmod(step.number - 1, self.run.spec.arm.steps)
        checksums = self.run.digests[interval + 1].get("batches", "")  # older runs have none
        recorded = checksums[place * CHECKSUM_DIGITS : (place + 1) * CHECKSUM_DIGITS]
        if recorded and recorded != batch_checksum(step.indices):
            self.doubts.append(f"the batch of step {step.number} differs from the recorded one")
        tensors = step_tensors(stepper.model, step)
        reasons: Mapping[str, str] = getattr(stepper.model.loss, "reasons", {})
        return InspectedStep(step, tensors, find_nan_cause(step, tensors, reasons))

    def _stepper(self, interval: int) -> Stepper:
        return Stepper(self.run.spec, self.dataset, self._checkpoint(interval))

    def _checkpoint(self, interval: int) -> Checkpoint:
        """Return the checkpoint after ``interval`` intervals, recomputed if it was not saved."""
        nearest = self._nearest(interval)
        found = nearest
        if found is None or found.interval < interval:
            found = self._recompute(nearest, interval)
        if found.chain != self.run.chain[: interval + 1]:
            self.doubts.append(f"the bits after {interval} intervals differ from the recorded ones")
        return found

    def _recompute(self, nearest: Checkpoint | None, interval: int) -> Checkpoint:
        folder, first = self.scratch / "state", nearest.interval if nearest else 0
        if nearest:
            checkpoint.save(nearest, folder)
        seconds = self.run.seconds / self.run.intervals * (interval - first)
        if interval > first:
            logger.info(f"recomputing intervals {first + 1} to {interval}, about {seconds:.0f} s")
        with log.quiet():
            train(self.run, self.scratch, self.dataset, TrainOptions(stop_after=interval))
        return checkpoint.load(checkpoint.path(folder, interval))

    def _nearest(self, interval: int) -> Checkpoint | None:
        nearest = None
        for folder in (*self.saved, self.scratch / "state"):
            found, damaged = checkpoint.load_newest(folder, until=interval)
            for line in damaged:
                logger.warning(line)
            if found and found.run_id == identity.run_id(self.run.spec):
                nearest = max(found, nearest or found, key=lambda one: one.interval)
        return nearest


@contextmanager
def open_replay(
    run: Run, directory: Path, dataset: Dataset, environment: Mapping[str, Any]
) -> Iterator[Replay]:
    """Yield the replay of the run in ``directory``, which is only read.

    ``dataset`` is what the run was trained on (``sources.load_recorded``), ``environment`` is
    ``determinism.environment()``.
    """
    here = dict(environment)
    if run.spec.environment.get(batching.FIELD) == batching.IN_TURN:  # its steps are as in a run
        here[batching.FIELD] = batching.IN_TURN  # that is trained alone
    differing = identity.differences(dict(run.spec.environment), here)
    doubts = [f"environment: {path} ({a} there, {b} here)" for path, a, b in differing]
    # Variables and generators of another backend or device do not fit into this one's.
    usable = not any(path in ("backend", "device") for path, _, _ in differing)
    with tempfile.TemporaryDirectory(prefix="replay-") as scratch:
        saved = (directory / "state",) if usable else ()
        yield Replay(run, saved, Path(scratch), dataset, doubts)
