"""Replay any step of a run from the nearest checkpoint, saved or recomputed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
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
    """A step, its tensors in the order of their computation, and the cause of a NaN if any.

    ``losses_before`` are those of the interval's earlier steps, from ``first_nonfinite`` only.
    """

    step: Step
    tensors: list[StepTensor]
    nan_cause: NanCause | None
    losses_before: Sequence[float] = ()


@dataclass(frozen=True)
class Replay:
    """Replays steps of ``run``.

    ``saved`` are folders of its checkpoints, which are only read; other checkpoints are recomputed
    in the directory ``scratch``. Each step is exact to the bit unless ``doubts`` lists why not.
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
            losses: list[float] = []
            while stepper.done < stepper.end:
                if not (step := stepper.take()).finite:
                    return self._inspect(stepper, step, losses)
                losses.append(step.loss)
        return None

    def _inspect(
        self, stepper: Stepper, step: Step, losses_before: Sequence[float] = ()
    ) -> InspectedStep:
        interval, index = divmod(step.number - 1, self.run.spec.arm.steps)
        checksums = self.run.digests[interval + 1].get("batches", "")  # older runs have none
        recorded = checksums[index * CHECKSUM_DIGITS : (index + 1) * CHECKSUM_DIGITS]
        if recorded and recorded != batch_checksum(step.indices):
            self.doubts.append(f"the batch of step {step.number} differs from the recorded one")
        tensors = step_tensors(stepper.model, step)
        reasons: Mapping[str, str] = getattr(stepper.model.loss, "reasons", {})
        return InspectedStep(step, tensors, find_nan_cause(step, tensors, reasons), losses_before)

    def _stepper(self, interval: int) -> Stepper:
        return Stepper(self.run.spec, self.dataset, self._checkpoint(interval))

    def _checkpoint(self, interval: int) -> Checkpoint:
        """Return the checkpoint after ``interval`` intervals, recomputed if it was not saved."""
        found = self._nearest(interval)
        if found is None or found.interval < interval:
            found = self._recompute(found, interval)
        if found.chain != self.run.chain[: interval + 1]:
            self.doubts.append(f"the bits after {interval} intervals differ from the recorded ones")
        return found

    def _recompute(self, before: Checkpoint | None, interval: int) -> Checkpoint:
        """Train from the checkpoint ``before``, or from the start, to ``interval``."""
        folder, first = self.scratch / "state", before.interval if before else 0
        if before:
            checkpoint.save(before, folder)
        seconds = self.run.seconds / self.run.intervals * (interval - first)
        if interval > first:
            logger.info(f"recomputing intervals {first + 1} to {interval}, about {seconds:.0f} s")
        options = TrainOptions(stop_after=interval, telemetry_every=0)
        with log.quiet():
            train(self.run, self.scratch, self.dataset, options)
        return checkpoint.load(checkpoint.path(folder, interval))

    def _nearest(self, interval: int) -> Checkpoint | None:
        """Return the run's last checkpoint up to ``interval``, if there is one."""
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
    """Yield a replay of the run in ``directory``, which is only read.

    ``dataset`` is the run's (``sources.load_recorded``), ``environment`` is
    ``determinism.environment()``.
    """
    here = identity.known_to(run.spec.environment, environment)
    if run.spec.environment.get(batching.FIELD) == batching.IN_TURN:
        here[batching.FIELD] = batching.IN_TURN  # the same bits as if trained alone
    differing = identity.differences(dict(run.spec.environment), here)
    doubts = [f"environment: {path} ({a} there, {b} here)" for path, a, b in differing]
    # Variables and generator states of another backend or device cannot be loaded.
    usable = not any(path in ("backend", "device") for path, _, _ in differing)
    with tempfile.TemporaryDirectory(prefix="replay-") as scratch:
        saved = (directory / "state",) if usable else ()
        yield Replay(run, saved, Path(scratch), dataset, doubts)
