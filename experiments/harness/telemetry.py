"""What TensorBoard shows of a run: scalars, and histograms of every weight and bias."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog

BINS = 64
# It warns of every NaN that it writes; a loss that turns NaN is what some experiments are about.
logging.getLogger("tensorboardX.x2num").setLevel(logging.ERROR)


class Telemetry(keras.callbacks.Callback):
    """Write TensorBoard events at each epoch's end, on the global step; works on any backend.

    ``first_epoch`` is where a resumed training goes on: a snapshot before the first step is
    written at 0, and of what a killed process wrote after ``first_epoch`` nothing is shown.
    Only reads the model, so that training with it or without it is the same to the last bit.
    """

    def __init__(self, directory: Path, steps_per_epoch: int, first_epoch: int = 0) -> None:
        super().__init__()
        self.directory, self.steps, self.first_epoch = directory, steps_per_epoch, first_epoch

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        # Written in this thread, unlike SummaryWriter's: what is flushed survives a kill, and a
        # full disk is an error here and now.
        self.events = EventsWriter(str(self.directory / "events"), f".{self.first_epoch:06d}")
        first = self.first_epoch * self.steps + 1 if self.first_epoch else 0
        start = SessionLog(status=SessionLog.START)  # TensorBoard drops what stood from here on
        self._write(first, session_log=start)
        if not self.first_epoch:
            self._histograms(0)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        step = (epoch + 1) * self.steps
        logs = logs or {}
        for name, value in logs.items():
            if name.startswith("val_"):
                tag = f"{name[4:]}/test"
            else:
                tag = f"{name}/train" if f"val_{name}" in logs else name
            self._write(step, summary=summary.scalar(tag, value))
        self._histograms(step)
        self.events.flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.events.close()

    def _histograms(self, step: int) -> None:
        for variable in self.model.weights:
            values = keras.ops.convert_to_numpy(variable)
            values = values[np.isfinite(values)].astype("float64")
            if values.size:
                counts, edges = np.histogram(values, BINS)
                histogram = summary.histogram_raw(
                    variable.path,
                    min=values.min(),
                    max=values.max(),
                    num=values.size,
                    sum=values.sum(),
                    sum_squares=np.square(values).sum(),
                    bucket_limits=edges[1:],
                    bucket_counts=counts,
                )
                self._write(step, summary=histogram)

    def _write(self, step: int, **what: Any) -> None:
        self.events.write_event(Event(step=step, wall_time=time.time(), **what))
