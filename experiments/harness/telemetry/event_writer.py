"""TensorBoard event files, written in the calling thread and without TensorFlow."""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from experiments.harness.telemetry.histogram import compute_histogram

# It warns about every NaN that it writes; some experiments are about a loss that becomes NaN.
logging.getLogger("tensorboardX.x2num").setLevel(logging.ERROR)


class EventWriter:
    """Write an event file in ``directory``, with events from ``first_step`` on.

    TensorBoard drops events from that step on in the directory's earlier files, so a resumed
    training has no duplicate points. Unlike tensorboardX's own writer, this one has no thread:
    flushed events survive a kill, and a full disk raises at once.
    """

    def __init__(self, directory: Path, first_step: int = 0) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._file = EventsWriter(str(directory / "events"), f".{first_step:09d}")
        self._finalizer = weakref.finalize(self, _close_quietly, self._file)
        self._finalizer.atexit = False
        self._write(first_step, session_log=SessionLog(status=SessionLog.START))

    def scalar(self, step: int, tag: str, value: float) -> None:
        self._write(step, summary=summary.scalar(tag, value))

    def histogram(self, step: int, tag: str, tensor: NDArray[Any]) -> None:
        """Write a tensor's finite values, and the number of others as ``nonfinite/<tag>``."""
        histogram = compute_histogram(tensor)
        if histogram.nonfinite:
            self.scalar(step, f"nonfinite/{tag}", histogram.nonfinite)
        if histogram.size:
            content = summary.histogram_raw(
                tag,
                min=histogram.least,
                max=histogram.greatest,
                num=histogram.size,
                sum=histogram.total,
                sum_squares=histogram.squares,
                bucket_limits=histogram.edges,
                bucket_counts=histogram.counts,
            )
            self._write(step, summary=content)

    def image(self, step: int, tag: str, pixels: NDArray[np.uint8]) -> None:
        """Write pixels ``(height, width, 1 or 3)``."""
        self._write(step, summary=summary.image(tag, pixels, dataformats="HWC"))

    def png(self, step: int, tag: str, path: Path) -> None:
        """Write a PNG file as an image."""
        content = path.read_bytes()
        width, height = int.from_bytes(content[16:20]), int.from_bytes(content[20:24])
        image = Summary.Image(height=height, width=width, encoded_image_string=content)
        self._write(step, summary=Summary(value=[Summary.Value(tag=tag, image=image)]))

    def text(self, step: int, tag: str, markdown: str) -> None:
        self._write(step, summary=summary.text(tag, markdown))

    def hyperparameters(self, values: Mapping[str, bool | float | str]) -> None:
        """Write the run's hyperparameters for the HParams tab."""
        _, start, end = summary.hparams(dict(values), {})
        self._write(0, summary=start)
        self._write(0, summary=end)

    def charts(self, charts: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
        """Lay out the Custom Scalars tab: tag patterns by category and chart title."""
        layout = {
            category: {title: ["Multiline", [*tags]] for title, tags in titles.items()}
            for category, titles in charts.items()
        }
        self._write(0, summary=summary.custom_scalars(layout))

    def graph(self, definition: bytes) -> None:
        """Write a serialised ``GraphDef``."""
        self._write(0, graph_def=definition)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()
        self._finalizer.detach()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, step: int, **content: Any) -> None:
        self._file.write_event(Event(step=step, wall_time=time.time(), **content))


def _close_quietly(file: EventsWriter) -> None:
    """Close the file of a training that failed; its own error says more than a full disk's."""
    with suppress(OSError):
        file.close()
