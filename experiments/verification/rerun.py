"""Train a recorded run again; if the bits differ, find the first difference and its cause."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.harness.execution.local import Fresh
from experiments.harness.execution.task import Executor, ExecutorError, Task, run_task
from experiments.harness.runtime.log import logger
from experiments.harness.spec import ProcessError, Run, UserError
from experiments.harness.storage import checkpoint, run_record
from experiments.verification import causes
from experiments.verification.divergence import (
    Divergence,
    compare,
    environment_differences,
    tensor_distance,
)
from experiments.verification.tensor_diff import differing_names, distance, first_difference

WORKER = "experiments.verification.worker"
UNSTABLE = "this machine: training the same interval again gives different bits"
UNKNOWN = "unknown: no change that was tried reproduces the recorded bits"
Start = dict[str, Any]  # arguments of ``determinism.start``


class Verifier:
    """Trains the run recorded in ``directory`` again, in fresh processes and folders.

    The folders are below ``scratch``. ``source`` names the run's data if it is not found by its
    recorded name. The processes run tasks of the ``executor``, on a cluster all on one node, which
    has the recorded environment if any has.
    """

    def __init__(
        self, directory: Path, source: str | None, scratch: Path, executor: Executor | None = None
    ) -> None:
        self.executor = executor or Fresh()
        self.node: str | None = None  # where the rerun was trained
        self.run, self.directory = run_record.read(directory), directory
        self.source, self.scratch = source, scratch
        self.start = causes.recorded_start(self.run.spec.environment)
        self.folder_numbers = count(1)

    def rerun(self) -> tuple[Run, Path]:
        """Train the run again, up to the first link that differs; return it and its folder.

        If the recorded environment is not available, train to the end.
        """
        folder = self._new_folder()
        environment = self._rerun_until_divergence(folder, in_any_environment=False)
        if lines := environment_differences(self.run.spec.environment, environment):
            logger.info("\n  ".join(["the recorded environment is not available here:", *lines]))
            logger.info("training the run anyway, to compare statistics")
            self._rerun_until_divergence(folder, in_any_environment=True)
        return run_record.read(folder), folder

    def diagnose(self, rerun: Run, folder: Path) -> Divergence | None:
        """Return where the run and its rerun in ``folder`` diverge and why; None if nowhere."""
        found = compare(self.run, rerun, (self.directory, folder))
        if found is None:
            return None
        if not found.cause:
            found = self._find_cause(found, rerun, folder)
        has_digests = any(self.run.digests[found.interval : found.interval + 1])  # not older runs
        if found.distance or (has_digests and not found.tensors):
            return found
        saved = checkpoint.saved(self.directory / "state")
        end = next((interval for interval in saved if interval >= found.interval), None)
        if end is None:
            return found
        logger.info(f"training to interval {end}, which has a checkpoint, to measure the distance")
        self._rerun_interval(self.start, None, folder, end)
        directories = (self.directory, folder)
        measured, after = tensor_distance(directories, found.interval, found.tensors)
        return replace(found, distance=measured, measured_after=after)

    def _find_cause(self, found: Divergence, rerun: Run, folder: Path) -> Divergence:
        """Add the cause: the change of the environment that reproduces the recorded bits."""
        interval = found.interval
        before = checkpoint.path(folder / "state", interval - 1) if interval else None
        logger.info(f"interval {interval} differs; looking for the cause")
        if self._retrained_link(self.start, before, interval) != rerun.chain[interval]:
            return replace(found, cause=UNSTABLE)
        for cause, start in causes.candidates(self.run.spec.environment):
            logger.info(f"trying {cause}")
            try:
                link = self._retrained_link(start, before, interval)
            except ExecutorError:
                raise
            except (UserError, ProcessError) as error:
                logger.info(f"cannot try it: {error}")
                continue
            if link == self.run.chain[interval]:
                found = replace(found, cause=f"{cause} reproduces the recorded bits")
                return self._find_step(found, before, start) if before else found
        return replace(found, cause=UNKNOWN)

    def _find_step(self, found: Divergence, before: Path, start: Start) -> Divergence:
        """Add the first step whose tensors differ if the interval is trained with ``start``.

        ``before`` is the checkpoint before the interval.
        """
        starts = {self._new_folder() / "step.npz": each for each in (self.start, start)}
        digests = [self._step_digests(each, before, 1, file) for file, each in starts.items()]
        index = first_difference(*digests)
        if index is None:  # only the evaluation after the last step differs
            return found
        for file, each in starts.items() if index else ():
            self._step_digests(each, before, index + 1, file)
        names = differing_names(*(steps[index] for steps in digests))
        a, b = (_read_array(file, names[0]) for file in starts)
        step = (found.interval - 1) * self.run.spec.arm.steps + index + 1
        return replace(
            found,
            step=step,
            tensors=names,
            distance=distance(names[0], a, b),
            measured_after=f"step {step}",
        )

    def _retrained_link(self, start: Start, before: Path | None, interval: int) -> str:
        """Return the link of an interval, trained from the checkpoint ``before`` it."""
        return self._rerun_interval(start, before, self._new_folder(), interval)

    def _new_folder(self) -> Path:
        folder = self.scratch / f"{next(self.folder_numbers)}"
        (folder / "state").mkdir(parents=True)
        return folder

    # Functions of ``worker``, each called in a fresh process.

    def _rerun_until_divergence(self, folder: Path, in_any_environment: bool) -> dict[str, Any]:
        """Train in the recorded environment, or in any; return the environment found."""
        arguments = {"folder": str(folder), "in_any_environment": in_any_environment}
        task = self._task("rerun_until_divergence", arguments, self.start, folder)
        found = run_task(self.executor, task)
        self.node = found.node
        return dict(found.value if found.status == "refused" else found.result())

    def _rerun_interval(self, start: Start, before: Path | None, folder: Path, end: int) -> str:
        checkpoint_file = str(before) if before else None
        arguments = {"before": checkpoint_file, "folder": str(folder), "end": end}
        task = self._task("rerun_interval", arguments, start, folder, before)
        return str(run_task(self.executor, task).result())

    def _step_digests(
        self, start: Start, before: Path, number: int, saved: Path
    ) -> list[dict[str, str]]:
        arguments = {"before": str(before), "number": number, "saved": str(saved)}
        task = self._task("step_digests", arguments, start, saved.parent, before)
        found: list[dict[str, str]] = run_task(self.executor, task).result()
        return found

    def _task(
        self,
        function: str,
        arguments: Mapping[str, Any],
        start: Start,
        folder: Path,
        before: Path | None = None,
    ) -> Task:
        recorded = self.directory.resolve()
        return Task(
            f"{WORKER}:{function}",
            {"recorded": str(recorded), "source": self.source, **arguments},
            name=function,
            directories=(folder,),
            inputs=(recorded, *([before.parents[1]] if before else [])),
            all_checkpoints=True,
            backend=self.run.spec.environment["backend"],
            start=start,
            node=self.node,
        )


def _read_array(file: Path, name: str) -> NDArray[Any]:
    with np.load(file) as arrays:
        return arrays[name]
