"""An inspected step as JSON types and as text, and its batch as a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from textwrap import fill
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from experiments.debugging.replay import InspectedStep, Replay
from experiments.debugging.step_tensors import MEASURES
from experiments.harness.reporting.result import json_safe
from experiments.harness.runtime import filesystem
from experiments.harness.spec import UserError

SHOWN_TARGETS = 10  # numbers of a target
SHOWN_LOSSES = 5  # of the steps before
TITLES = {
    "weight": "Weights and the optimiser's variables, before the step",
    "activation": "Activations, in training mode, with the step's own random numbers",
    "term": "Inner terms of the loss",
    "loss": "Loss",
    "gradient": "Gradients, from the output back",
    "update": "Updates: the value after the step minus that before it",
}


def summary(replay: Replay, inspected: InspectedStep | None) -> dict[str, Any]:
    """Return an inspected step, or that all steps were finite if None, as JSON types."""
    run = replay.run
    payload: dict[str, Any] = {
        "run": {"home": run.spec.arm_id, "scale": run.spec.scale, "seed": run.spec.seed},
        "exact": not replay.doubts,
        "doubts": list(replay.doubts),
        "step": None,
        "story": None,
    }
    if inspected is None:
        return payload
    step = inspected.step
    tensors = [
        {"kind": t.kind, "name": t.name, "operation": t.operation, **t.statistics()}
        for t in inspected.tensors
    ]
    payload |= {
        "step": step.number,
        "interval": (step.number - 1) // run.spec.arm.steps + 1,
        "loss": step.loss,
        "losses_before": [*inspected.losses_before],
        "batch": {"indices": step.indices.tolist(), "targets": step.batch[1].tolist()},
        "tensors": tensors,
        "story": inspected.nan_cause,
    }
    return json_safe(payload)


def text(payload: Mapping[str, Any]) -> str:
    """Return a summary as text: the step, the cause of a NaN, the batch, tables of the tensors."""
    parts = ["replay of {home}, {scale}, seed {seed}".format(**payload["run"])]
    if payload["exact"]:
        parts.append("exact: the environment and the recomputed checkpoints match the record")
    else:
        parts.append("NOT EXACT, statistical only:\n  " + "\n  ".join(payload["doubts"]))
    if payload["step"] is None:
        return "\n\n".join([*parts, "all training steps of the run were finite"])
    parts.append(headline(payload))
    batch = zip(payload["batch"]["indices"], payload["batch"]["targets"], strict=True)
    examples = ", ".join(f"{index} ({_target_text(target)})" for index, target in batch)
    parts.append(fill(f"batch, index in the training split (target): {examples}", 96))
    for kind, title in TITLES.items():
        if chosen := [tensor for tensor in payload["tensors"] if tensor["kind"] == kind]:
            parts.append(f"{title}:\n\n{_table(chosen)}")
    return "\n\n".join(parts)


def headline(payload: Mapping[str, Any]) -> str:
    """Return the step's number and loss and, if it was nonfinite, the cause."""
    line = "step {step}, in interval {interval}: loss {loss:.8g}".format(**_numbers(payload))
    if not payload["story"]:
        return line
    return f"{line}\n\n{nan_cause(payload['story'], payload['losses_before'])}"


def nan_cause(cause: Mapping[str, Any], losses_before: Sequence[float]) -> str:
    """Return the cause of a NaN as text, with the last of ``losses_before`` and their median."""
    index = ", ".join(map(str, cause["index"]))
    lines = {
        "first": f"{cause['kind']} {cause['tensor']!r} ({cause['operation']}): "
        f"{cause['nonfinite']} of {cause['size']} nonfinite, [{index}] is {cause['value']}",
        "why": cause["why"],
        **_sample_lines(cause.get("sample")),
    }
    if trace := cause.get("trace"):
        values = [f"{name} {float(value):.6g}" for name, value in trace.items()]
        lines[f"at [{index}]"] = " -> ".join(values)
    if "compiled" in cause:
        lines["compiled"] = (
            f"the step's own loss is {cause['compiled']}: the backend fused operations that are "
            "computed one by one here"
        )
    chain = [f"{c['kind']} {c['tensor']} {c['nonfinite']}/{c['size']}" for c in cause["chain"]]
    more = [f"and {len(chain) - 8} more"] if len(chain) > 8 else []
    lines["nonfinite"] = ", ".join([*chain[:8], *more])
    if losses_before:
        last = ", ".join(f"{loss:.4g}" for loss in losses_before[-SHOWN_LOSSES:])
        usual = f"{median(losses_before):.4g}"
        lines["before"] = f"losses {last} in the steps before; median of the interval {usual}"
    return "\n".join(
        fill(f"{name:12} {line}", 96, subsequent_indent=" " * 13) for name, line in lines.items()
    )


def _sample_lines(sample: Mapping[str, Any] | None) -> dict[str, str]:
    if not sample:
        return {}
    place = "{in_batch} in the batch, {in_training_split} in the training split, label {label:g}"
    outputs = (
        "largest {largest_output:.6g} (at {output_argmax}), smallest {smallest_output:.6g}, "
        "gap {gap:.6g}"
    )
    values = _numbers(sample)
    return {"sample": place.format(**values), "outputs": outputs.format(**values)}


def _numbers(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``payload`` with the strings for NaN and the infinities as numbers again."""
    return {k: float(v) if v in ("nan", "inf", "-inf") else v for k, v in payload.items()}


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
    headers = ("", "shape", *MEASURES, "nonfinite")
    align = ("left", "left", *["right"] * (len(headers) - 2))
    return tabulate(rows, headers, disable_numparse=True, colalign=align)


def _target_text(target: Any) -> str:
    """Return a target as a short text: a number, or an array's first numbers."""
    if not isinstance(target, list):
        return f"{target:g}"
    shown = [f"{value:g}" for value in np.ravel(target)[:SHOWN_TARGETS]]
    return " ".join([*shown, *["..."] * (np.size(target) > SHOWN_TARGETS)])


def write_picture(examples: NDArray[Any], path: Path) -> None:
    """Write images ``(n, height, width)`` or ``(n, height, width, 1 or 3)`` as one PNG.

    They are in a grid as square as possible, row by row, with grey lines between them. Those that
    are not bytes have their minimum in black and their maximum in white. Raises ``UserError`` if
    they are no images, or if ``path`` cannot be written.
    """
    from PIL import Image

    if examples.ndim not in (3, 4) or examples.shape[3:] not in ((), (1,), (3,)):
        raise UserError(f"--images: examples of shape {examples.shape[1:]} are no images")
    images = examples[..., 0] if examples.shape[3:] == (1,) else examples
    if images.dtype != np.uint8:
        low, high = images.min(), images.max()
        images = np.rint(255 * (images - low) / ((high - low) or 1)).astype(np.uint8)
    count, height, width = images.shape[:3]
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    grid = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1, *images.shape[3:]), 128)
    for number, image in enumerate(images):
        top, left = number // columns * (height + 1), number % columns * (width + 1)
        grid[top : top + height, left : left + width] = image
    with filesystem.atomic_replace(path) as temporary:
        Image.fromarray(grid.astype("uint8")).save(temporary, format="PNG")
