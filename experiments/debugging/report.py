"""A visit to a step as JSON types, as text, and its batch as a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from experiments.debugging.replay import InspectedStep, Replay
from experiments.debugging.step_tensors import MEASURES
from experiments.harness.reporting.result import json_safe
from experiments.harness.runtime import filesystem

TITLES = {
    "weight": "Weights and the optimiser's variables, before the step",
    "activation": "Activations, in training mode, with the step's own random numbers",
    "term": "The loss's inner terms",
    "loss": "The loss",
    "gradient": "Gradients, from the output back",
    "update": "Updates: after the step, less before it",
}


def summary(replay: Replay, visit: InspectedStep | None) -> dict[str, Any]:
    """Return what there is to tell, as JSON types; of None, that no step was not finite."""
    run = replay.run
    told: dict[str, Any] = {
        "run": {"home": run.spec.arm_id, "scale": run.spec.scale, "seed": run.spec.seed},
        "exact": not replay.doubts,
        "doubts": list(replay.doubts),
        "step": None,
        "story": None,
    }
    if visit is None:
        return told
    step = visit.step
    tensors = [
        {"kind": t.kind, "name": t.name, "operation": t.operation, **t.statistics()}
        for t in visit.tensors
    ]
    return json_safe(
        told
        | {
            "step": step.number,
            "interval": (step.number - 1) // run.spec.arm.steps + 1,
            "loss": step.loss,
            "batch": {"indices": step.indices.tolist(), "targets": step.batch[1].tolist()},
            "tensors": tensors,
            "story": visit.nan_cause,
        }
    )


def text(told: Mapping[str, Any]) -> str:
    """Return a summary as text: what became of the step, its batch, and its tensors in tables."""
    run = told["run"]
    parts = ["replay of {home}, {scale}, seed {seed}".format(**run)]
    if told["exact"]:
        parts.append("exact: the environment, and states that were recomputed, are the run's own")
    else:
        parts.append("NOT EXACT, statistical only:\n  " + "\n  ".join(told["doubts"]))
    if told["step"] is None:
        return "\n\n".join([*parts, "no training step of the run was not finite"])
    parts.append(headline(told))
    batch = zip(told["batch"]["indices"], told["batch"]["targets"], strict=True)
    listed = ", ".join(f"{index} ({target:g})" for index, target in batch)
    parts.append(fill(f"batch, index in the training split (target): {listed}", 96))
    for kind, title in TITLES.items():
        if chosen := [tensor for tensor in told["tensors"] if tensor["kind"] == kind]:
            parts.append(f"{title}:\n\n{_table(chosen)}")
    return "\n\n".join(parts)


def headline(told: Mapping[str, Any]) -> str:
    """Return which step it is, its loss and, where it was not finite, its story."""
    line = "step {step}, in interval {interval}: loss {loss:.8g}".format(**_numbers(told))
    return f"{line}\n\n{nan_cause(told['story'])}" if told["story"] else line


def nan_cause(told: Mapping[str, Any]) -> str:
    """Return what became of a step that was not finite, as text."""
    place = ", ".join(map(str, told["index"]))
    lines = {
        "first": f"{told['kind']} {told['tensor']!r}, made by {told['operation']}: "
        f"{told['nonfinite']} of {told['size']} not finite, [{place}] is {told['value']}",
        "why": told["why"],
    }
    if sample := told.get("sample"):
        sample = _numbers(sample)
        lines["sample"] = (
            "{in_batch} of the batch, {in_training_split} of the training split, label {label:g}"
        ).format(**sample)
        lines["outputs"] = (
            "largest {largest_output:.6g} (at {output_argmax}), smallest {smallest_output:.6g}, "
            "gap {gap:.6g}"
        ).format(**sample)
    if trace := told.get("trace"):
        values = [f"{name} {float(value):.6g}" for name, value in trace.items()]
        lines[f"at [{place}]"] = " -> ".join(values)
    if "compiled" in told:
        lines["compiled"] = (
            f"the step's own loss is {told['compiled']}: the backend made one operation of "
            "several, which are told one by one here"
        )
    chain = [f"{c['kind']} {c['tensor']} {c['nonfinite']}/{c['size']}" for c in told["chain"]]
    more = [f"and {len(chain) - 8} more"] if len(chain) > 8 else []
    lines["not finite"] = ", ".join([*chain[:8], *more])
    return "\n".join(
        fill(f"{name:12} {line}", 96, subsequent_indent=" " * 13) for name, line in lines.items()
    )


def _numbers(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``told`` with the strings that stand for NaN and infinities as numbers again."""
    return {k: float(v) if v in ("nan", "inf", "-inf") else v for k, v in told.items()}


def _table(tensors: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (
            tensor["name"],
            "x".join(map(str, tensor["shape"])) or "-",
            *("-" if tensor[name] is None else f"{tensor[name]:.4g}" for name in MEASURES),
            tensor["nonfinite"],
        )
        for tensor in tensors
    ]
    headers = ("", "shape", *MEASURES, "non-finite")
    align = ("left", "left", *["right"] * (len(headers) - 2))
    return tabulate(rows, headers, disable_numparse=True, colalign=align)


def picture(pixels: NDArray[np.uint8], path: Path) -> None:
    """Write images ``(n, height, width)`` or ``(n, height, width, channels)`` as one PNG.

    Row by row in a grid as square as it goes, a line of grey between them. Raises ``UserError``
    where ``path`` cannot be written.
    """
    from PIL import Image

    count, height, width = pixels.shape[:3]
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    grid = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1, *pixels.shape[3:]), 128)
    for number, image in enumerate(pixels):
        top, left = number // columns * (height + 1), number % columns * (width + 1)
        grid[top : top + height, left : left + width] = image
    with filesystem.atomic_replace(path) as temporary:
        Image.fromarray(grid.astype("uint8")).save(temporary, format="PNG")
