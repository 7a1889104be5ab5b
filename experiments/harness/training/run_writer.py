"""A run's directory, written after each interval: the checkpoint, then the record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from numpy.typing import NDArray

from experiments.harness.runtime.log import logger
from experiments.harness.spec import Run, ScriptRun, Status
from experiments.harness.storage import checkpoint, provenance, run_record
from experiments.harness.storage.checkpoint import Checkpoint
from experiments.harness.storage.fingerprint import link, tensor_digests
from experiments.harness.training.stopwatch import Elapsed

RunT = TypeVar("RunT", Run, ScriptRun)


class RunWriter(Generic[RunT]):
    """Save a run in ``directory``, interval by interval, from the checkpoint ``first`` on.

    ``find_commit`` returns the commit of the code that is trained, by default the project's.
    """

    def __init__(
        self,
        run: RunT,
        directory: Path,
        first: Checkpoint,
        find_commit: Callable[[], str | None] | None = None,
    ) -> None:
        self.run: RunT = run
        self.directory, self.checkpoint = directory, first
        self.find_commit = find_commit or provenance.commit

    def append(
        self,
        tensors: Mapping[str, NDArray[Any]],
        row: Mapping[str, float],
        batches: str,
        elapsed: Elapsed,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Save the checkpoint after one more interval, then the record.

        ``row`` is the interval's row of ``history.csv``, ``batches`` the checksums of its batches,
        ``elapsed`` the time that its training took.
        """
        before: Checkpoint = self.checkpoint
        now = replace(
            before,
            interval=before.interval + 1,
            tensors=tensors,
            history=before.history.append(row),
            chain=(*before.chain, link(before.chain[-1], tensors, row)),
            digests=(*before.digests, tensor_digests(tensors, batches)),
            seconds=before.seconds + elapsed.seconds,
            cpu_seconds=None
            if before.cpu_seconds is None
            else before.cpu_seconds + elapsed.cpu_seconds,
            extra=extra or {},
        )
        checkpoint.save(now, self.directory / "state")
        self.checkpoint = now  # not before: an interrupted save must not count as done
        self.write_record("running")

    def write_record(self, status: Status) -> RunT:
        """Write the record of the run as it is now, and return it."""
        now = self.checkpoint
        commit_at_end = None if status == "running" else self.find_commit()
        if commit_at_end and commit_at_end != self.run.commit:
            logger.warning(provenance.change(replace(self.run, commit_at_end=commit_at_end)))
        self.run = replace(
            self.run,
            status=status,
            initial=now.initial,
            history=now.history,
            chain=now.chain,
            digests=now.digests,
            seconds=now.seconds,
            cpu_seconds=now.cpu_seconds,
            commit_at_end=commit_at_end,
        )
        run_record.save(self.run, self.directory)
        return self.run
