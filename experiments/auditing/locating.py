"""Where within an epoch two runs part, and how far: both run again, recorded step by step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from experiments.auditing.comparison import Difference, compare
from experiments.auditing.processes import Request, Script
from experiments.auditing.record import Record
from experiments.harness.runtime.log import logger
from experiments.verification.tensor_diff import Distance, differing_names, distance

LARGE_ULPS = 1 << 16  # more than a step's rounding can make of weights that were equal


@dataclass(frozen=True)
class Location:
    """A difference, where it is by now known to be, and how far apart one tensor is.

    ``again``: whether two further runs differed there, too.
    """

    difference: Difference
    distance: Distance | None = None
    again: bool = True


def locate(script: Script, found: Difference, record: Record, attempts: int = 2) -> Location:
    """Run the script twice more, up to the difference, and compare each step on the way.

    If those two differ earlier, that is the difference to locate.
    """
    detail = _range(found, record)
    if detail is None:
        return Location(found)
    logger.info("running it twice more up to the difference, recorded step by step")
    stop_after = found.index + 1 if detail.get("epoch") else None  # the others stop themselves
    first = script.run(Request(stop_after=stop_after, detail=_saving(script, detail)))
    reference = {str(event["step"]): event["tensors"] for event in first.details}
    saving = _saving(script, detail) | {"reference": reference}
    second = script.run(Request(stop_after=stop_after, detail=saving))
    common = min(len(first.events), len(second.events))  # a process ends at its first difference
    earlier = compare(*(replace(each, events=each.events[:common]) for each in (first, second)))
    if earlier and earlier.index < found.index:
        logger.info(f"these two differ earlier: {earlier.what}")
        return locate(script, earlier, first, attempts - 1) if attempts > 1 else Location(earlier)
    for event in second.details:
        if names := differing_names(reference.get(str(event["step"]), {}), event["tensors"]):
            return _at_step(found, event["step"], names, first, second)
    events = [each.essences[found.index : found.index + 1] for each in (first, second)]
    if events[0] == events[1]:
        return Location(found, again=False)
    return Location(found)


def _range(found: Difference, record: Record) -> dict[str, Any] | None:
    """Return what to record step by step; None if that would show no more."""
    if found.kind not in ("weights", "masks", "arithmetic"):
        return None
    event = record.events[found.index]
    kind = next(e["kind"] for e in record.beginnings if e["training"] == found.training)
    if kind == "fit":
        return {"training": found.training, "epoch": event["epoch"]}
    if kind == "compiled":
        return None
    states = [
        e["step"]
        for e in record.events[: found.index]
        if e["type"] == "state" and e["training"] == found.training
    ]
    step = event["step"]
    first = min(states[-1] + 1, step) if states else step
    return {"training": found.training, "first": first, "last": step}


def _saving(script: Script, detail: Mapping[str, Any]) -> dict[str, Any]:
    folder = script.scratch / f"steps{next(script.numbers)}"
    folder.mkdir(parents=True)
    return {**detail, "folder": str(folder.absolute())}


def _at_step(
    found: Difference, step: int | str, names: list[str], first: Record, second: Record
) -> Location:
    """Return the difference at a step, with the distance of its first tensor that was saved."""
    files = [_file(record, step) for record in (first, second)]
    measured = None
    if all(file.exists() for file in files):
        a, b = map(np.load, files)
        for name in names:
            if name in a and name in b and a[name].shape == b[name].shape:
                measured = distance(name, a[name], b[name])
                break
    if isinstance(step, str):
        what = f"what happens after the last step of epoch {found.epoch}, such as in a callback"
        return Location(replace(found, kind="between steps", what=what, tensors=names), measured)
    found = replace(found, step=step, tensors=names)
    if found.kind == "weights" and step and measured:
        is_first_step = measured.ulps < LARGE_ULPS
        kind, what = (
            ("arithmetic", "a step's arithmetic")
            if is_first_step
            else ("weights", "the initial weights (recorded after the step that builds the model)")
        )
        found = replace(found, kind=kind, what=what)
    return Location(found, measured)


def _file(record: Record, step: int | str) -> Path:
    request = json.loads((record.folder / "request.json").read_text())
    return Path(request["detail"]["folder"]) / f"{step}.npz"
