"""TensorBoard's event files, written in the calling thread and without TensorFlow."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from experiments.harness.telemetry.histogram import compute_histogram

# It warns of every NaN that it writes; a loss that turns NaN is what some experiments are about.
logging.getLogger("tensorboardX.x2num").setLevel(logging.ERROR)


class EventWriter:
    """An event file in ``directory``, whose points are from ``first_step`` on.

    TensorBoard drops what earlier files of the directory have from there on: a training that goes
    on after a kill has no point twice. Unlike tensorboardX's own writer this one has no thread:
    what is flushed survives a kill, and a full disk is an error here and now.
    """

    def __init__(self, directory: Path, first_step: int = 0) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._file = EventsWriter(str(directory / "events"), f".{first_step:09d}")
        self._write(first_step, session_log=SessionLog(status=SessionLog.START))

    def scalar(self, step: int, tag: str, value: float) -> None:
        self._write(step, summary=summary.scalar(tag, value))

    def histogram(self, step: int, tag: str, tensor: NDArray[Any]) -> None:
        """Write a tensor's finite values; how many are not goes to ``nonfinite/<tag>``."""
        seen = compute_histogram(tensor)
        if seen.nonfinite:
            self.scalar(step, f"nonfinite/{tag}", seen.nonfinite)
        if seen.size:
            histogram = summary.histogram_raw(
                tag,
                min=seen.least,
                max=seen.greatest,
                num=seen.size,
                sum=seen.total,
                sum_squares=seen.squares,
                bucket_limits=seen.edges,
                bucket_counts=seen.counts,
            )
            self._write(step, summary=histogram)

    def image(self, step: int, tag: str, pixels: NDArray[np.uint8]) -> None:
        """Write pixels ``(height, width, 1 or 3)``."""
        self._write(step, summary=summary.image(tag, pixels, dataformats="HWC"))

    def png(self, step: int, tag: str, path: Path) -> None:
        """Write a picture that is a PNG file."""
        content = path.read_bytes()
        height, width = (int.from_bytes(content[place : place + 4]) for place in (20, 16))
        shown = Summary.Image(height=height, width=width, encoded_image_string=content)
        self._write(step, summary=Summary(value=[Summary.Value(tag=tag, image=shown)]))

    def text(self, step: int, tag: str, markdown: str) -> None:
        self._write(step, summary=summary.text(tag, markdown))

    def hyperparameters(self, values: Mapping[str, bool | float | str]) -> None:
        """Tell what sets the run apart, for the HParams tab."""
        _, start, end = summary.hparams(dict(values), {})
        self._write(0, summary=start)
        self._write(0, summary=end)

    def charts(self, charts: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
        """Lay out the Custom Scalars tab: categories of charts, each of patterns of tags."""
        layout = {
            category: {title: ["Multiline", [*tags]] for title, tags in found.items()}
            for category, found in charts.items()
        }
        self._write(0, summary=summary.custom_scalars(layout))

    def graph(self, definition: bytes) -> None:
        """Write a serialised ``GraphDef``."""
        self._write(0, graph_def=definition)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, step: int, **what: Any) -> None:
        self._file.write_event(Event(step=step, wall_time=time.time(), **what))
